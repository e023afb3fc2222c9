"""The report as text: Markdown, HTML, JSON and JUnit. What a report does not say, no format says."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader

from crm_assets.report.collect import AssetResult, CheckResult, Report, State

VERSION = 1
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
        f"# Checks of the CRM's tables: {'no errors' if report.ok else 'ERRORS'}",
        "",
        f"{_text(report.generated_at)}",
        "",
        "| asset | check | outcome | since | found |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {asset.key} | {check.name} | {SIGNS[check.state]} {check.state} | {_text(check.since)} | {_cell(check)} |"
        for asset in report.assets
        for check in asset.checks
    ]
    return "\n".join(lines) + "\n"


def as_junit(report: Report) -> str:
    """Return the report for CI servers: errors are failures, warnings are printed."""
    root = ElementTree.Element("testsuites", name="crm_assets")
    for asset in report.assets:
        errors = sum(check.state == "ERROR" for check in asset.checks)
        suite = ElementTree.SubElement(
            root, "testsuite", name=asset.key, tests=str(len(asset.checks)), failures=str(errors)
        )
        for check in asset.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=asset.key, name=check.name)
            if check.state == "ERROR":
                ElementTree.SubElement(case, "failure", message=_printable(check.description))
            else:
                ElementTree.SubElement(case, "system-out").text = _printable(f"{check.state}: {check.description}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def as_html(report: Report) -> str:
    """Return the report as one HTML file without outside references."""
    environment = Environment(loader=PackageLoader("crm_assets", "report"), autoescape=True)
    environment.filters["moment"] = _text
    environment.filters["sparkline"] = _sparkline
    return environment.get_template("report.html.j2").render(report=report, signs=SIGNS)


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "markdown": as_markdown,
    "html": as_html,
    "json": as_json,
    "junit": as_junit,
}
"""The formats of `crm-assets report --format`."""


def _asset(asset: AssetResult) -> dict[str, Any]:
    return {
        "key": asset.key,
        "table": asset.table,
        "rows": asset.rows,
        "last_materialized": _text(asset.last_materialized) if asset.last_materialized else None,
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


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _cell(check: CheckResult) -> str:
    return " ".join(check.description.split()).replace("|", "\\|")


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
