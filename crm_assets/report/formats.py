"""The report as text: Markdown, JSON, JUnit and OpenMetrics. What a report does not say, no format says."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from crm_assets.report.html import as_html
from crm_assets.report.results import SIGNS, STATES, AssetResult, CheckResult, LoadResult, Report
from crm_assets.text import markdown_text

VERSION = 2
"""Version of the JSON's shape. It changes when a field is taken away or changes its meaning."""


def as_json(report: Report) -> str:
    """Return the report for machines, in the shape that `docs/checks.md` describes."""
    return json.dumps(
        {
            "version": VERSION,
            "generated_at": _text(report.generated_at),
            "ok": report.ok,
            "summary": {
                "tables": dict(report.summary.tables),
                "checks": dict(report.summary.checks),
                "rows": report.summary.rows,
                "oldest_load": _text(report.summary.oldest_load) or None,
                "newest_load": _text(report.summary.newest_load) or None,
            },
            "assets": [_asset(asset) for asset in report.assets],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_markdown(report: Report) -> str:
    """Return the report as Markdown, one table."""
    lines = [
        f"# The CRM's tables: {'no errors' if report.ok else 'ERRORS'}",
        "",
        f"{_text(report.generated_at)}",
        "",
        "| asset | check | outcome | since | found |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {asset.key} | {one.name} | {SIGNS[one.state]} {one.state} | {_text(one.since)}"
        f" | {markdown_text(one.description)} |"
        for asset in report.assets
        for one in asset.findings
    ]
    return "\n".join(lines) + "\n"


def as_junit(report: Report) -> str:
    """Return the report for CI servers: errors are failures, warnings are printed."""
    root = ElementTree.Element("testsuites", name="crm_assets")
    for asset in report.assets:
        findings = asset.findings
        errors = sum(one.state == "ERROR" for one in findings)
        suite = ElementTree.SubElement(
            root, "testsuite", name=asset.key, tests=str(len(findings)), failures=str(errors)
        )
        for one in findings:
            case = ElementTree.SubElement(suite, "testcase", classname=asset.key, name=one.name)
            if one.state == "ERROR":
                ElementTree.SubElement(case, "failure", message=_printable(one.description))
            else:
                ElementTree.SubElement(case, "system-out").text = _printable(f"{one.state}: {one.description}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def as_openmetrics(report: Report) -> str:
    """Return the report for a scraper of OpenMetrics, or the textfile collector of a node exporter."""
    now = report.generated_at
    values: dict[str, list[tuple[AssetResult, dict[str, str], float]]] = {
        "rows": [(one, {}, one.rows) for one in report.assets if one.rows is not None],
        "age_seconds": [
            (one, {}, (now - one.last_materialized).total_seconds()) for one in report.assets if one.last_materialized
        ],
        "last_load_ok": [(one, {}, one.load.ending == "landed") for one in report.assets],
        "checks": [
            (one, {"outcome": state}, sum(check.state == state for check in one.checks))
            for one in report.assets
            for state in STATES
        ],
        "ok": [(one, {}, one.state != "ERROR") for one in report.assets],
    }
    lines = []
    for name, samples in values.items():
        lines += [f"# TYPE crm_assets_{name} gauge", f"# HELP crm_assets_{name} {_METRICS[name]}"]
        lines += [f"crm_assets_{name}{{{_labels(one, more)}}} {float(value):g}" for one, more, value in samples]
    return "\n".join([*lines, "# EOF", ""])


_METRICS = {
    "rows": "Rows of the table after its last load.",
    "age_seconds": "Seconds since the table was last loaded.",
    "last_load_ok": "1 if the last load of the table ended well.",
    "checks": "Checks of the table by their latest outcome.",
    "ok": "1 if nothing is wrong with the table.",
}


def _labels(asset: AssetResult, more: Mapping[str, str]) -> str:
    labels = {"asset": asset.key, "dataset": asset.dataset, **more}
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "markdown": as_markdown,
    "html": as_html,
    "json": as_json,
    "junit": as_junit,
    "openmetrics": as_openmetrics,
}
"""The formats of `crm-assets report --format`."""


def _asset(asset: AssetResult) -> dict[str, Any]:
    return {
        "key": asset.key,
        "table": asset.table,
        "rows": asset.rows,
        "ok": asset.state != "ERROR",
        "last_materialized": _text(asset.last_materialized) or None,
        "last_load": _ended(asset.load),
        "loads": [_load(load) for load in asset.loads],
        "freshness": {
            "outcome": asset.freshness.state,
            "age_seconds": round(asset.freshness.age.total_seconds()),
            "limit_seconds": round(asset.freshness.limit.total_seconds()),
        }
        if asset.freshness
        else None,
        "checks": [_check(check) for check in asset.checks],
    }


def _ended(load: LoadResult) -> dict[str, Any]:
    return {
        "outcome": load.ending,
        "ended_at": _text(load.ended_at) or None,
        "problem": load.problem or None,
        "run_id": load.run_id or None,
    }


def _load(load: LoadResult) -> dict[str, Any]:
    return {
        **_ended(load),
        "seconds": None if load.seconds is None else round(load.seconds, 3),
        "rows": load.rows,
        "rows_new": load.rows_new,
        "rows_changed": load.rows_changed,
        "rows_deleted": load.rows_deleted,
        "rows_rejected": load.rows_rejected,
    }


def _check(check: CheckResult) -> dict[str, Any]:
    table = check.failed_rows
    return {
        "name": check.name,
        "passed": check.passed,
        "severity": check.severity,
        "description": check.description,
        "evaluated_at": _text(check.evaluated_at),
        "since": _text(check.since),
        "failed_rows": {"columns": table.head, "rows": table.rows} if table else None,
        "metadata": check.metadata,
    }


def _text(moment: datetime | None) -> str:
    return moment.isoformat().replace("+00:00", "Z") if moment else ""


def _printable(text: str) -> str:
    """Return `text` without the characters that XML cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n" or sign.isprintable())
