"""What is known of each table: how its last load ended, whether it is fresh, what its checks found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus

from crm_assets.account import Account
from crm_assets.apis.resources import Resource
from crm_assets.orchestration.freshness import longest_span
from crm_assets.orchestration.jobs import of_cadence
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.run import State
from crm_assets.orchestration.run_history import LastLoad, last_loads
from crm_assets.orchestration.schedules import crons, schedule_name
from crm_assets.quality.checks import checks_of
from crm_assets.text import counted, lasting

HISTORY = 20
"""How many evaluations and materializations a report looks back upon."""

Ending = Literal["landed", "failed", "running", "unknown", "never"]
if TYPE_CHECKING:
    from crm_assets.load.resource_loads import ResourceLoad

_BY_DEFAULT, _RUNNING = InstigatorStatus.DECLARED_IN_CODE, InstigatorStatus.RUNNING


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
    history: Sequence[State]

    @property
    def state(self) -> State:
        """`passed`, or how bad the failure is."""
        return "passed" if self.passed else self.severity


Recorded = Mapping[str, "ResourceLoad"] | str
"""The last load of each resource, as the warehouse knows it, or why it cannot be read."""


@dataclass(frozen=True)
class LoadResult:
    """How the last run that should have loaded a table ended for it."""

    ending: Ending
    """`never` if there was no run."""
    ended_at: datetime | None = None
    problem: str = ""
    """Why it did not load."""
    run_id: str = ""


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


@dataclass(frozen=True)
class AssetResult:
    """One asset: its table, its last load, its checks. `row_history` has the rows after each load, the oldest first."""

    key: str
    dataset: str
    table: str | None
    rows: int | None
    last_materialized: datetime | None
    load: LoadResult
    freshness: Freshness | None
    """None where nothing loads it by schedule, or it was never loaded."""
    row_history: Sequence[int]
    checks: Sequence[CheckResult]
    load_id: str = ""
    """dlt's id of the last load that Dagster knows of."""
    doubt: str = ""
    """Why the warehouse may not have what Dagster says of it."""
    is_missing: bool = False
    """Whether the warehouse has no record of a load."""

    @property
    def findings(self) -> list[Finding]:
        """What is said of it, line by line: its load, its freshness, its checks."""
        found = [_of_load(self)]
        if self.doubt:
            found.append(Finding("warehouse", "ERROR" if self.is_missing else "WARN", self.doubt))
        if self.freshness:
            found.append(_of_freshness(self.freshness))
        return [*found, *(Finding(one.name, one.state, one.description, one.since) for one in self.checks)]

    @property
    def state(self) -> State:
        """The worst of its findings."""
        states = {finding.state for finding in self.findings}
        return "ERROR" if "ERROR" in states else "WARN" if "WARN" in states else "passed"


@dataclass(frozen=True)
class Report:
    """All assets of the configured accounts."""

    generated_at: datetime
    assets: Sequence[AssetResult]

    @property
    def ok(self) -> bool:
        """Whether each asset is loaded, its last load ended well, it is fresh, and no check fails with ERROR."""
        return not any(asset.state == "ERROR" for asset in self.assets)


def collect(
    instance: dg.DagsterInstance,
    accounts: Sequence[Account],
    resources: Sequence[str] = (),
    *,
    now: datetime | None = None,
    recorded: Mapping[str, Recorded] | None = None,
) -> Report:
    """Return what is known of `resources`, or of all.

    Loads into another dataset than the account's, and what checks found there, do not count.

    Args:
        instance: Dagster's, with the history of runs and checks.
        accounts: whose resources they are.
        resources: their names.
        now: the moment by which ages are told.
        recorded: by the name of the account, the last load of each resource as the warehouse knows it, which goes
            before what `instance` knows; or why the warehouse cannot be read.

    Raises:
        ApiConfigError: names the resource that an account does not have.
    """
    moment = now or datetime.now(UTC)
    assets = [
        asset
        for account in accounts
        for asset in _assets(instance, account, resources, moment, (recorded or {}).get(account.name))
    ]
    return Report(moment.replace(microsecond=0), assets)


def only_failures(report: Report) -> Report:
    """Return `report` without the checks that passed, and the assets of which nothing bad is said."""
    assets = [
        replace(asset, checks=[check for check in asset.checks if not check.passed])
        for asset in report.assets
        if asset.state != "passed"
    ]
    return Report(report.generated_at, assets)


def _assets(
    instance: dg.DagsterInstance,
    account: Account,
    resources: Sequence[str],
    now: datetime,
    recorded: Recorded | None,
) -> Iterator[AssetResult]:
    loads = last_loads(instance, account)
    policies = _policies(instance, account)
    for resource in account.select(resources):
        asset = _asset(instance, account, resource, loads.get(resource.name))
        if recorded is not None:
            asset = _as_recorded(asset, resource.name, recorded)
        yield replace(asset, freshness=_freshness(asset.last_materialized, policies.get(resource.name), now))


def _as_recorded(asset: AssetResult, resource: str, recorded: Recorded) -> AssetResult:
    """Return `asset` with what the warehouse says of its last load."""
    if isinstance(recorded, str):
        return replace(asset, doubt=recorded)
    load = recorded.get(resource)
    if load is None:
        missing = "The warehouse has no record of it: load it again." if asset.last_materialized else ""
        return replace(asset, doubt=missing, is_missing=True)
    if load.load_id == asset.load_id:
        return asset
    doubt = ""
    if asset.load_id and load.load_id < asset.load_id:
        doubt = f"The warehouse has an earlier load than the last one, that of {load.loaded_at:%Y-%m-%d %H:%M} UTC."
    loaded_at = load.loaded_at.astimezone(UTC).replace(microsecond=0)
    # A load that Dagster does not know is another instance's: it may be newer than a failure that is known.
    is_newer = asset.load.ended_at is None or asset.load.ended_at < loaded_at
    ended = LoadResult("landed", loaded_at) if is_newer else asset.load
    return replace(asset, rows=load.rows_after, last_materialized=loaded_at, load=ended, doubt=doubt)


def _policies(instance: dg.DagsterInstance, account: Account) -> dict[str, tuple[timedelta, timedelta]]:
    """Return after which ages a table is late, and stale; nothing for those that no running schedule loads."""
    states = instance.all_instigator_state() if instance.schedule_storage else ()
    switched = {one.name: one.status for one in states}
    found = {}
    for cadence, cron in crons(account).items():
        status = switched.get(schedule_name(account, cadence))
        runs = account.automation.enabled if status in (None, _BY_DEFAULT) else status is _RUNNING
        if runs:
            spans = longest_span(cron, 2), longest_span(cron, 4)
            found.update({resource.name: spans for resource in of_cadence(account, cadence)})
    return found


def _asset(instance: dg.DagsterInstance, account: Account, resource: Resource, last: LastLoad | None) -> AssetResult:
    key = asset_key(account, resource.name)
    records = instance.fetch_materializations(key, limit=HISTORY).records
    table = f".{account.dataset}.{resource.name}"
    loads = [
        (record.timestamp, metadata)
        for record in records
        if record.asset_materialization
        and str((metadata := _values(record.asset_materialization.metadata)).get("dagster/table_name")).endswith(table)
    ]
    loaded_at = _moment(loads[0][0]) if loads else None
    counts = [metadata["dagster/row_count"] for _, metadata in loads]
    checks = [_check(instance, dg.AssetCheckKey(key, name), account.dataset) for name in checks_of(account, resource)]
    return AssetResult(
        key=key.to_user_string(),
        dataset=account.dataset,
        table=loads[0][1]["dagster/table_name"] if loads else None,
        rows=counts[0] if counts else None,
        last_materialized=loaded_at,
        load=_load(last, loaded_at),
        freshness=None,
        row_history=counts[::-1],
        load_id=loads[0][1]["load_id"] if loads else "",
        checks=[check for check in checks if check],
    )


def _load(last: LastLoad | None, loaded_at: datetime | None) -> LoadResult:
    if last is None or (last.ending == "landed" and loaded_at is None):
        return LoadResult("never" if loaded_at is None else "landed", loaded_at)
    return LoadResult(last.ending, _moment(last.ended_at), last.problem, last.run_id)


def _freshness(
    loaded_at: datetime | None, policy: tuple[timedelta, timedelta] | None, now: datetime
) -> Freshness | None:
    if loaded_at is None or policy is None:
        return None
    age, (late, stale) = now - loaded_at, policy
    return Freshness("ERROR" if age > stale else "WARN" if age > late else "passed", age, stale)


def _of_load(asset: AssetResult) -> Finding:
    load = asset.load
    if asset.last_materialized is None and load.ending != "failed":
        what = "is being loaded for the first time" if load.ending == "running" else "was never loaded"
        return Finding("load", "ERROR", f"{asset.dataset}: {what}.")
    match load.ending:
        case "failed":
            return Finding("load", "ERROR", load.problem or "The run broke off.", load.ended_at)
        case "unknown":
            return Finding("load", "WARN", "The last run was ended before it had loaded this table.", load.ended_at)
        case "running":
            return Finding("load", "passed", "Is being loaded.", load.ended_at)
        case _:
            return Finding("load", "passed", f"{counted(asset.rows or 0, 'row')}.", asset.last_materialized)


def _of_freshness(freshness: Freshness) -> Finding:
    age = f"Loaded {lasting(freshness.age)} ago; stale after {lasting(freshness.limit)}."
    return Finding("freshness", freshness.state, age)


def _check(instance: dg.DagsterInstance, key: dg.AssetCheckKey, dataset: str) -> CheckResult | None:
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=HISTORY)
    events = [(record.event.timestamp, record.event.dagster_event) for record in records if record.event]
    found = [
        (moment, event.asset_check_evaluation_data)
        for moment, event in events
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    found = [(moment, one) for moment, one in found if _values(one.metadata).get("dataset", dataset) == dataset]
    if not found:
        return None
    states: list[State] = ["passed" if one.passed else one.severity.value for _, one in found]
    streak = next((index for index, state in enumerate(states) if state != states[0]), len(states))
    moment, latest = found[0]
    return CheckResult(
        name=key.name,
        passed=latest.passed,
        severity=latest.severity.value,
        description=latest.description or "",
        evaluated_at=_moment(moment),
        since=_moment(found[streak - 1][0]),
        metadata=_values(latest.metadata),
        history=states[::-1],
    )


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC).replace(microsecond=0)
