"""What a report knows of each table: how its last loads ended, whether it is fresh, what its checks found."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from crm_assets.orchestration.run import State
from crm_assets.quality.checks import ADVICE, CHECKS
from crm_assets.report.tables import Table
from crm_assets.text import counted, lasting

Ending = Literal["landed", "failed", "running", "unknown", "never"]
STATES: Sequence[State] = ("ERROR", "WARN", "passed")
"""The states of a finding, the worst first."""
SIGNS: Mapping[State, str] = {"passed": "✓", "WARN": "!", "ERROR": "✗"}
"""How a state is told without colour."""


@dataclass(frozen=True)
class CheckResult:
    """The latest evaluation of one check. `history` holds the states of the last ones, the oldest first."""

    name: str
    passed: bool
    severity: Literal["WARN", "ERROR"]
    description: str
    evaluated_at: datetime
    since: datetime
    """Since when it has been in this state."""
    metadata: dict[str, Any]
    """What it counted, by name; `failed_rows` and `sql` are Markdown."""
    history: Sequence[State]
    failed_rows: Table | None = None

    @property
    def state(self) -> State:
        """`passed`, or how bad the failure is."""
        return "passed" if self.passed else self.severity


@dataclass(frozen=True)
class LoadResult:
    """How a run that should have loaded a table ended for it. The counts are those of a load that landed."""

    ending: Ending
    """`never` if there was no run."""
    ended_at: datetime | None = None
    problem: str = ""
    """Why it did not load."""
    run_id: str = ""
    seconds: float | None = None
    """From the first request until the rows were in the table; of a run that failed, until it ended."""
    rows: int | None = None
    """Rows of the table after it."""
    rows_new: int | None = None
    rows_changed: int | None = None
    rows_deleted: int | None = None
    rows_rejected: int | None = None


@dataclass(frozen=True)
class Freshness:
    """How old a table is, against how old it may become while schedules load it."""

    state: State
    age: timedelta
    limit: timedelta
    """The age above which it is stale."""


@dataclass(frozen=True)
class Finding:
    """One line of a report: something about an asset that is as it should be, or not."""

    name: str
    state: State
    description: str
    since: datetime | None = None
    expected: str = ""
    """What should be true."""
    advice: str = ""
    """What to do if it is not."""
    check: CheckResult | None = None
    """The check that found it."""


@dataclass(frozen=True)
class AssetResult:
    """One asset: its table, its loads, its checks."""

    key: str
    dataset: str
    table: str | None
    rows: int | None
    last_materialized: datetime | None
    load: LoadResult
    freshness: Freshness | None
    """None where nothing loads it by schedule, or it was never loaded."""
    checks: Sequence[CheckResult]
    loads: Sequence[LoadResult] = ()
    """The last loads and failures, the latest first."""
    load_id: str = ""
    """dlt's id of the last load that Dagster knows of."""
    doubt: str = ""
    """Why the warehouse may not have what Dagster says of it."""
    is_missing: bool = False
    """Whether the warehouse has no record of a load."""
    dagster_url: str = ""
    """Address of the Dagster UI; empty if it is not known."""
    only_failures: bool = False
    """Whether nothing is said of what is as it should be."""

    @property
    def findings(self) -> list[Finding]:
        """What is said of it, line by line: its load, its freshness, its checks."""
        found = [_of_load(self)]
        if self.doubt:
            found.append(_finding("warehouse", "ERROR" if self.is_missing else "WARN", self.doubt))
        if self.freshness:
            found.append(_of_freshness(self.freshness))
        found += map(_of_check, self.checks)
        return [one for one in found if not (self.only_failures and one.state == "passed")]

    @property
    def state(self) -> State:
        """The worst of its findings."""
        return worst([finding.state for finding in self.findings])

    @property
    def row_history(self) -> list[int]:
        """Rows of the table after each load, the oldest first."""
        return [load.rows for load in reversed(self.loads) if load.rows is not None]

    @property
    def seconds_history(self) -> list[float]:
        """Seconds that each load took which landed, the oldest first."""
        return [load.seconds for load in reversed(self.loads) if load.ending == "landed" and load.seconds is not None]


@dataclass(frozen=True)
class Summary:
    """All tables in a few numbers."""

    tables: Mapping[State, int]
    """How many tables are in each state."""
    checks: Mapping[State, int]
    """How many checks are."""
    rows: int
    oldest_load: datetime | None
    """The last load of the table that was not loaded for the longest time; None if none was ever loaded."""
    newest_load: datetime | None


@dataclass(frozen=True)
class Report:
    """All assets of the configured accounts."""

    generated_at: datetime
    assets: Sequence[AssetResult]
    summary: Summary
    """Of all assets, those that are not shown included."""

    @property
    def ok(self) -> bool:
        """Whether each asset is loaded, its last load ended well, it is fresh, and no check fails with ERROR."""
        return not any(asset.state == "ERROR" for asset in self.assets)


def worst(states: Collection[State]) -> State:
    """Return the worst of `states`."""
    return next((state for state in STATES if state in states), "passed")


def summarize(assets: Sequence[AssetResult]) -> Summary:
    """Return the numbers of `assets`."""
    tables = Counter(asset.state for asset in assets)
    checks = Counter(check.state for asset in assets for check in asset.checks)
    loads = [asset.last_materialized for asset in assets if asset.last_materialized]
    return Summary(
        tables={state: tables[state] for state in STATES},
        checks={state: checks[state] for state in STATES},
        rows=sum(asset.rows or 0 for asset in assets),
        oldest_load=min(loads, default=None),
        newest_load=max(loads, default=None),
    )


def only_failures(report: Report) -> Report:
    """Return `report` without what is as it should be; its summary stays that of all."""
    assets = [
        replace(asset, checks=[check for check in asset.checks if not check.passed], only_failures=True)
        for asset in report.assets
        if asset.state != "passed"
    ]
    return replace(report, assets=assets)


_TABLE_FINDINGS: Mapping[str, tuple[str, str]] = {
    "load": (
        "The last run that should have loaded the table did.",
        "If the message says what to do, do that first. Then load the table: crm-assets sync",
    ),
    "warehouse": (
        "The warehouse can be read, and has the load that Dagster's history ends with.",
        "Close what holds the file, and make the report again. If the warehouse was restored or is another one, load "
        "the table again.",
    ),
    "freshness": (
        "The table is loaded as often as its schedule says.",
        "See in Dagster whether its daemon runs, the schedule is on, and its runs succeed.",
    ),
}
"""What is expected of a table beside its checks, and what to do if it is otherwise."""


def _finding(name: str, state: State, description: str, since: datetime | None = None) -> Finding:
    return Finding(name, state, description, since, *_TABLE_FINDINGS[name])


def _of_check(check: CheckResult) -> Finding:
    expected = CHECKS[check.name].__doc__ or ""
    return Finding(check.name, check.state, check.description, check.since, expected, ADVICE[check.name], check)


def _of_load(asset: AssetResult) -> Finding:
    load = asset.load
    if asset.last_materialized is None and load.ending != "failed":
        what = "is being loaded for the first time" if load.ending == "running" else "was never loaded"
        return _finding("load", "ERROR", f"{asset.dataset}: {what}.")
    match load.ending:
        case "failed":
            return _finding("load", "ERROR", load.problem or "The run broke off.", load.ended_at)
        case "unknown":
            return _finding("load", "WARN", "The last run was ended before it had loaded this table.", load.ended_at)
        case "running":
            return _finding("load", "passed", "Is being loaded.", load.ended_at)
        case _:
            return _finding("load", "passed", f"{counted(asset.rows or 0, 'row')}.", asset.last_materialized)


def _of_freshness(freshness: Freshness) -> Finding:
    age = f"Loaded {lasting(freshness.age)} ago; stale after {lasting(freshness.limit)}."
    return _finding("freshness", freshness.state, age)
