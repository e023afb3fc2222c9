"""The report as a page for people: what is wrong first, then every table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from crm_assets.orchestration.run import State
from crm_assets.report.charts import Chart
from crm_assets.report.results import SIGNS, STATES, AssetResult, Ending, Finding, Report, worst
from crm_assets.text import counted, lasting

_WORDS: Mapping[State, str] = {"passed": "passed", "WARN": "warning", "ERROR": "error"}
_ENDINGS: Mapping[Ending, str] = {
    "landed": "✓ loaded",
    "failed": "✗ failed",
    "running": "… running",
    "unknown": "? ended early",
    "never": "never",
}


@dataclass
class _Problem:
    """A finding that is not as it should be, and every asset of which just that is said."""

    finding: Finding
    assets: list[AssetResult] = field(default_factory=list)


def as_html(report: Report) -> str:
    """Return the report as one HTML file that loads nothing. Its links lead to the Dagster UI."""
    environment = Environment(
        loader=PackageLoader("crm_assets", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "counted": counted,
        "moment": _moment,
        "age": lambda moment: _age(report.generated_at - moment),
        "lasting": _lasting,
        "runs": _runs,
        "sql": lambda text: text.removeprefix("```sql\n").removesuffix("\n```"),
    }
    state = worst([state for state in STATES if report.summary.tables[state]])
    return environment.get_template("report.html.j2").render(
        report=report,
        state=state,
        headline=_headline(report),
        problems=_problems(report),
        facts=_facts,
        rows_chart=lambda asset: Chart.of(asset.row_history, "{:,}".format),
        seconds_chart=lambda asset: Chart.of(asset.seconds_history, _lasting),
        dagster_urls=sorted({asset.dagster_url for asset in report.assets if asset.dagster_url}),
        states=STATES,
        signs=SIGNS,
        words=_WORDS,
        endings=_ENDINGS,
    )


def _headline(report: Report) -> str:
    tables = report.summary.tables
    total = counted(sum(tables.values()), "table")
    said = [f"{counted(tables[state], 'table')} with {_WORDS[state]}s" for state in STATES[:2] if tables[state]]
    return f"{' and '.join(said)}, of {total}" if said else f"All is well: {total}, no errors, no warnings"


def _problems(report: Report) -> list[_Problem]:
    """Return what is wrong, the worst first, loads before checks, each thing once with all its assets."""
    found: dict[str, _Problem] = {}
    for asset in report.assets:
        for one in asset.findings:
            if one.state != "passed":
                about = repr((one.name, one.state, one.description, one.check and (one.check.failed_rows, asset.key)))
                found.setdefault(about, _Problem(one)).assets.append(asset)
    return sorted(found.values(), key=lambda one: (STATES.index(one.finding.state), one.finding.check is not None))


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a check counted, without what has a place of its own."""
    return {
        name.replace("_", " "): f"{value:,}" if isinstance(value, int) else value
        for name, value in metadata.items()
        if name not in ("dataset", "failed_rows", "sql")
    }


def _runs(history: Sequence[State]) -> str:
    """Return the outcomes of the last evaluations in words, equal ones together: `3 passed, then 1 error`."""
    found: list[tuple[State, int]] = []
    for state in history:
        if found and found[-1][0] == state:
            found[-1] = state, found[-1][1] + 1
        else:
            found.append((state, 1))
    plurals: dict[State, str] = {"passed": "passed"}
    return ", then ".join(counted(count, _WORDS[state], plurals.get(state, "")) for state, count in found)


def _moment(moment: datetime) -> Markup:
    text = f"{moment:%Y-%m-%d %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _age(age: timedelta) -> str:
    return f"{lasting(age)} ago" if age >= timedelta(minutes=1) else "under a minute ago"


def _lasting(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else lasting(timedelta(seconds=seconds))
