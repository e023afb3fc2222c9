"""What a person sees in the terminal: bars and tables there, plain lines everywhere else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from crm_assets.extract.probe import Probe
from crm_assets.extract.progress import ProgressListener, Reading, listening, log_listener
from crm_assets.models.kinds import kind_of, least_type
from crm_assets.orchestration.run import Checked, Landed, State
from crm_assets.report.results import SIGNS, Report
from crm_assets.text import lasting, printable

if TYPE_CHECKING:
    from crm_assets.cli.examine import Examined
    from crm_assets.report.accounts import AccountState

_TEXTS = ("found", "answer", "observed", "state")
"""Columns of sentences, which take several lines where they must."""
_LANDED = ("rows", "new", "changed", "deleted", "rejected")
"""What is told of a load; 80 columns have no place for more."""
_FRESHNESS: dict[State, str] = {"passed": "fresh", "WARN": "late", "ERROR": "stale"}
_SEVERITY: dict[State, int] = {"passed": 0, "WARN": 1, "ERROR": 2}
_COUNTED: dict[State, str] = {"passed": "passed", "WARN": "warnings", "ERROR": "errors"}


@contextmanager
def progress(console: Console) -> Iterator[None]:
    """Show how far the listings are while a run of this context reads them."""
    if not console.is_terminal:
        with listening(log_listener(lambda line: console.print(line, soft_wrap=True))):
            yield
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<15}"),
        TextColumn("{task.completed:>11,} records"),
        TextColumn("{task.fields[parts]:>15}"),
        TextColumn("{task.fields[rate]:>7,.0f}/s"),
        TextColumn("{task.fields[time]:>9}"),
    )
    with Progress(*columns, console=console) as bars, listening(_Bars(bars).listener()):
        yield


class _Bars:
    """One line for each listing, and one for all of them, which is there from the start."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._total = bars.add_task("starting", total=None, **_NOTHING_YET)
        self._tasks: dict[str, TaskID] = {}

    def listener(self) -> ProgressListener:
        return ProgressListener(self._tell, self._bars.console.print, every=0.2)

    def _tell(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            self._bars.update(
                self._task(reading.resource),
                completed=reading.records,
                total=reading.records if reading.finished else None,
                parts=_parts(reading),
                rate=reading.rate,
                time=_time(reading),
            )
        longest = max((reading.seconds for reading in readings), default=0.0)
        fresh = sum(reading.records - reading.resumed for reading in readings)
        self._bars.update(
            self._total,
            description="loading" if all(reading.finished for reading in readings) else "total",
            completed=sum(reading.records for reading in readings),
            parts=f"{sum(reading.pages for reading in readings):,} pages",
            rate=fresh / longest if longest else 0.0,
            time=_clock(longest),
        )

    def _task(self, resource: str) -> TaskID:
        if resource not in self._tasks:
            self._tasks[resource] = self._bars.add_task(resource, total=None, **_NOTHING_YET)
        return self._tasks[resource]


_NOTHING_YET: dict[str, Any] = {"parts": "0 pages", "rate": 0.0, "time": "0:00:00"}


def _parts(reading: Reading) -> str:
    """Return how many pages were read, or for how many parents of how many."""
    if reading.parents_total is None:
        return f"{reading.pages:,} pages"
    return f"{reading.parents_done:,} of {reading.parents_total:,}"


def _time(reading: Reading) -> str:
    """Return how long it has taken, or how long it still takes where that is known."""
    left = reading.seconds_left
    return f"-{_clock(left)}" if left and not reading.finished else _clock(reading.seconds)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def print_landed(console: Console, landed: Sequence[Landed]) -> None:
    """Print one line for each table that was loaded."""
    rows = [
        [one.resource, *(f"{one.counts[name]:,}" for name in _LANDED), f"{one.fetch_seconds:.1f}"] for one in landed
    ]
    _print(console, ["resource", *_LANDED, "seconds"], rows, left={0})


def print_probes(console: Console, probes: Sequence[Probe]) -> None:
    """Print what each resource answered to one request."""
    rows = [
        [
            probe.resource,
            probe.error.why if probe.error else "ok",
            "" if probe.records is None else f"{probe.records:,}",
            f"{probe.seconds * 1000:,.0f}",
        ]
        for probe in probes
    ]
    _print(console, ["resource", "answer", "first page", "ms"], rows, left={0, 1})
    if observed := [[probe.resource, str(one)] for probe in probes for one in probe.observations]:
        console.print()
        _print(console, ["resource", "observed"], observed, left={0, 1})
        _print_content_types(console, probes)


def _print_content_types(console: Console, probes: Sequence[Probe]) -> None:
    """Print of which type the responses were, and of which resources if they differ."""
    resources: dict[str, dict[str, None]] = {}
    for probe in probes:
        for kind in filter(None, (one.content_type for one in probe.observations)):
            resources.setdefault(kind, {})[probe.resource] = None
    for kind, names in resources.items():
        whose = "all" if len(resources) == 1 else ", ".join(names)
        console.print(f"Content type of {whose}: {kind}", soft_wrap=not console.is_terminal)


def print_fields(console: Console, records: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Print what the fields of some records look like, the key first."""
    names = dict.fromkeys([*key, *(name for record in records for name in record)])
    rows = []
    for name in names:
        values = [record[name] for record in records if record.get(name) is not None]
        kind = least_type(set(map(kind_of, values)))
        example = " ".join(str(values[0]).split()) if values else ""
        rows.append(
            [f"{name} (key)" if name in key else name, kind or "-", f"{len(values) / len(records):.0%}", example[:30]]
        )
    _print(console, ["field", "type", "filled", "example"], rows, left={0, 1, 3})


def print_examined(console: Console, examined: "Sequence[Examined]") -> None:
    """Print what was looked at, one line each."""
    rows = [[SIGNS[one.state], one.what, one.found] for one in examined]
    if rows:
        _print(console, ["", "what", "found"], rows, left={0, 1, 2})


def print_report(console: Console, report: Report) -> None:
    """Print one line for each thing that is said of an asset."""
    rows = [
        [
            asset.key,
            one.name,
            f"{SIGNS[one.state]} {one.state}",
            f"{one.since:%Y-%m-%d %H:%M}" if one.since else "",
            one.description,
        ]
        for asset in report.assets
        for one in asset.findings
    ]
    if not rows:
        console.print("Nothing failed.")
        return
    _print(console, ["asset", "check", "outcome", "since (UTC)", "found"], rows, left={0, 1, 2, 3, 4})


def print_status(console: Console, report: Report) -> None:
    """Print one line for each asset: how many rows it has, how old it is, and the worst that is said of it."""
    rows = []
    for asset in report.assets:
        worst = max(asset.findings, key=lambda one: _SEVERITY[one.state])
        age = lasting(report.generated_at - asset.last_materialized) if asset.last_materialized else "never"
        said = "" if worst.state == "passed" else f"{worst.name}: {worst.description}"
        count = "" if asset.rows is None else f"{asset.rows:,}"
        rows.append([asset.key, SIGNS[asset.state], count, age, " ".join(said.split())])
    _print(console, ["asset", "", "rows", "loaded ago", "found"], rows, left={0, 1, 4})


def print_accounts(console: Console, states: "Sequence[AccountState]") -> None:
    """Print one line for each account."""
    rows = [
        [
            one.name,
            SIGNS[one.state],
            f"{one.loaded_at:%Y-%m-%d %H:%M}" if one.loaded_at else "never",
            _FRESHNESS[one.freshness.state] if one.freshness else "",
            one.said,
        ]
        for one in states
    ]
    _print(console, ["account", "", "loaded (UTC)", "freshness", "state"], rows, left={0, 1, 2, 3, 4})


def print_checked(console: Console, checked: Sequence[Checked]) -> None:
    """Print how many checks passed, and each that did not."""
    states = [one.state for one in checked]
    counts = ", ".join(f"{states.count(state)} {name}" for state, name in _COUNTED.items())
    console.print(f"\nChecks: {counts}.")
    print_failing(console, checked)


def print_failing(console: Console, checked: Sequence[Checked]) -> None:
    """Print each check that did not pass."""
    rows = [
        [one.key, one.name, f"{SIGNS[one.state]} {one.state}", one.description]
        for one in checked
        if one.state != "passed"
    ]
    if rows:
        _print(console, ["asset", "check", "outcome", "found"], rows, left={0, 1, 2, 3})


def _print(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], left: set[int]) -> None:
    if not console.is_terminal:
        _print_plain(console, [head, *rows], left)
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, title in enumerate(head):
        is_text = title in _TEXTS
        table.add_column(title, justify="left" if index in left else "right", overflow="fold", no_wrap=not is_text)
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


def _print_plain(console: Console, lines: Sequence[Sequence[str]], left: set[int]) -> None:
    lines = [[" ".join(cell.splitlines()) for cell in line] for line in lines]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    for line in lines:
        cells = [
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True)
