"""The report as text: Markdown, HTML, JSON, JUnit and OpenMetrics. What a report does not say, no format says."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader

from crm_assets.orchestration.run import State
from crm_assets.report.collect import AssetResult, Finding, Report

VERSION = 2
"""Version of the JSON's shape. It changes when a field is taken away or changes its meaning."""
SIGNS: Mapping[State, str] = {"passed": "✓", "WARN": "!", "ERROR": "✗"}


def as_json(report: Report) -> str:
    """Return the report for machines, in the shape that `docs/checks.md` describes."""
    return json.dumps(
        {
            "version": VERSION,
            "generated_at": _text(report.generated_at),
            "ok": report.ok,
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
        f"| {asset.key} | {one.name} | {SIGNS[one.state]} {one.state} | {_text(one.since)} | {_cell(one)} |"
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


def as_html(report: Report) -> str:
    """Return the report as one HTML file without outside references."""
    environment = Environment(loader=PackageLoader("crm_assets", "report"), autoescape=True)
    environment.filters["moment"] = _text
    environment.filters["sparkline"] = _sparkline
    return environment.get_template("report.html.j2").render(report=report, signs=SIGNS)


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
            for state in SIGNS
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
        "last_load": {
            "outcome": asset.load.ending,
            "ended_at": _text(asset.load.ended_at) or None,
            "problem": asset.load.problem or None,
            "run_id": asset.load.run_id or None,
        },
        "freshness": {
            "outcome": asset.freshness.state,
            "age_seconds": round(asset.freshness.age.total_seconds()),
            "limit_seconds": round(asset.freshness.limit.total_seconds()),
        }
        if asset.freshness
        else None,
        "checks": [
            {
                "name": check.name,
                "passed": check.passed,
                "severity": check.severity,
                "description": check.description,
                "evaluated_at": _text(check.evaluated_at),
                "metadata": check.metadata,
            }
            for check in asset.checks
        ],
    }


def _text(moment: datetime | None) -> str:
    return moment.isoformat().replace("+00:00", "Z") if moment else ""


def _cell(one: Finding) -> str:
    return " ".join(one.description.split()).replace("|", "\\|")


def _printable(text: str) -> str:
    """Return `text` without the characters that XML cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n" or sign.isprintable())


def _sparkline(values: list[int], width: int = 120, height: int = 24) -> str:
    """Return the points of a polyline that draws `values`."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    step = width / (len(values) - 1)
    span = (high - low) or 1
    return " ".join(
        f"{index * step:.1f},{height - 2 - (value - low) / span * (height - 4):.1f}"
        for index, value in enumerate(values)
    )
