"""How a report is collected from Dagster's history and the warehouse's record of the loads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import SettingError
from crm_assets.orchestration.freshness import longest_span
from crm_assets.orchestration.jobs import of_cadence
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.run import State
from crm_assets.orchestration.run_history import LastLoad, last_loads, recent_loads
from crm_assets.orchestration.schedules import crons, schedule_name
from crm_assets.quality.checks import checks_of
from crm_assets.report.results import AssetResult, CheckResult, Freshness, LoadResult, Report, summarize
from crm_assets.report.tables import table_of
from crm_assets.settings import AlertSettings

HISTORY = 20
"""How many evaluations and loads a report looks back upon."""

if TYPE_CHECKING:
    from crm_assets.load.resource_loads import ResourceLoad

_BY_DEFAULT, _RUNNING = InstigatorStatus.DECLARED_IN_CODE, InstigatorStatus.RUNNING

_NO_RECORD = (
    "The warehouse has no record of a load of it: it is another warehouse, or was last loaded by a version that kept "
    "no record. crm-assets sync loads it again."
)

Recorded = Mapping[str, "ResourceLoad"] | str
"""The last load of each resource, as the warehouse knows it, or why it cannot be read."""


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
    return Report(moment.replace(microsecond=0), assets, summarize(assets))


def _assets(
    instance: dg.DagsterInstance,
    account: Account,
    resources: Sequence[str],
    now: datetime,
    recorded: Recorded | None,
) -> Iterator[AssetResult]:
    last, recent = last_loads(instance, account), recent_loads(instance, account, HISTORY)
    switched = {one.name: one.status for one in (instance.all_instigator_state() if instance.schedule_storage else ())}
    limits = policies(account, switched)
    address = _dagster_url(account)
    for resource in account.select(resources):
        name = resource.name
        asset = _asset(instance, account, resource, last.get(name), recent[name])
        if recorded is not None:
            asset = _as_recorded(asset, name, recorded)
        freshness = freshness_of(asset.last_materialized, limits.get(name), now)
        yield replace(asset, freshness=freshness, dagster_url=address)


def _dagster_url(account: Account) -> str:
    try:
        return AlertSettings.read(account.name, account.alerts).base_url.rstrip("/")
    except SettingError:  # what is wrong there keeps nobody from a report
        return ""


def _as_recorded(asset: AssetResult, resource: str, recorded: Recorded) -> AssetResult:
    """Return `asset` with what the warehouse says of its last load."""
    if isinstance(recorded, str):
        return replace(asset, doubt=recorded)
    load = recorded.get(resource)
    if load is None:
        missing = _NO_RECORD if asset.last_materialized else ""
        return replace(asset, doubt=missing, is_missing=True)
    if load.load_id == asset.load_id:
        return asset
    doubt = ""
    if asset.load_id and load.load_id < asset.load_id:
        doubt = f"The warehouse has an earlier load than the last one, that of {load.loaded_at:%Y-%m-%d %H:%M} UTC."
    loaded_at = load.loaded_at.astimezone(UTC).replace(microsecond=0)
    # A load that Dagster does not know is another instance's: it may be newer than a failure that is known.
    is_newer = asset.load.ended_at is None or asset.load.ended_at < loaded_at
    landed = LoadResult(
        "landed",
        loaded_at,
        rows=load.rows_after,
        rows_deleted=load.rows_deleted,
        rows_rejected=load.rows_rejected,
    )
    return replace(
        asset,
        rows=load.rows_after,
        last_materialized=loaded_at,
        load=landed if is_newer else asset.load,
        loads=asset.loads if doubt else _latest_first([landed, *asset.loads]),
        doubt=doubt,
    )


def policies(account: Account, switched: Mapping[str, object]) -> dict[str, tuple[timedelta, timedelta]]:
    """Return after which ages a table is late, and stale; nothing for those that no running schedule loads.

    Args:
        account: whose tables they are.
        switched: the status of each schedule that somebody has switched on or off.
    """
    found = {}
    for cadence, cron in crons(account).items():
        status = switched.get(schedule_name(account, cadence))
        runs = account.automation.enabled if status in (None, _BY_DEFAULT) else status is _RUNNING
        if runs:
            spans = longest_span(cron, 2), longest_span(cron, 4)
            found.update({resource.name: spans for resource in of_cadence(account, cadence)})
    return found


def _asset(
    instance: dg.DagsterInstance,
    account: Account,
    resource: Resource,
    last: LastLoad | None,
    recent: Sequence[LastLoad],
) -> AssetResult:
    key = asset_key(account, resource.name)
    records = instance.fetch_materializations(key, limit=HISTORY).records
    landed = [
        (record.run_id, record.timestamp, _values(record.asset_materialization.metadata))
        for record in records
        if record.asset_materialization
    ]
    table = f".{account.dataset}.{resource.name}"
    here = [one for one in landed if f".{one[2].get('dagster/table_name')}".endswith(table)]
    failed = [one for one in recent if one.ending != "landed" and one.run_id not in {run_id for run_id, *_ in landed}]
    loaded_at = _moment(here[0][1]) if here else None
    latest = here[0][2] if here else {}
    checks = [_check(instance, dg.AssetCheckKey(key, name), account.dataset) for name in checks_of(account, resource)]
    return AssetResult(
        key=key.to_user_string(),
        dataset=account.dataset,
        table=latest.get("dagster/table_name"),
        rows=latest.get("dagster/row_count"),
        last_materialized=loaded_at,
        load=_load(last, loaded_at),
        freshness=None,
        loads=_latest_first([*(_landed(*one) for one in here), *map(_failed, failed)]),
        load_id=latest.get("load_id", ""),
        checks=[check for check in checks if check],
    )


def _landed(run_id: str, timestamp: float, metadata: Mapping[str, Any]) -> LoadResult:
    fetch, load = metadata.get("fetch_seconds"), metadata.get("load_seconds")  # older histories have no load_seconds
    return LoadResult(
        "landed",
        _moment(timestamp),
        run_id=run_id,
        seconds=None if fetch is None or load is None else fetch + load,
        rows=metadata["dagster/row_count"],
        rows_new=metadata.get("rows_new", 0),
        rows_changed=metadata.get("rows_changed", 0),
        rows_deleted=metadata.get("rows_deleted", 0),
        rows_rejected=metadata.get("rows_rejected", 0),
    )


def _failed(load: LastLoad) -> LoadResult:
    return LoadResult(load.ending, _moment(load.ended_at), load.problem, load.run_id, load.seconds)


def _latest_first(loads: Iterable[LoadResult]) -> list[LoadResult]:
    return sorted(loads, key=lambda one: one.ended_at or datetime.min.replace(tzinfo=UTC), reverse=True)[:HISTORY]


def _load(last: LastLoad | None, loaded_at: datetime | None) -> LoadResult:
    if last is None or (last.ending == "landed" and loaded_at is None):
        return LoadResult("never" if loaded_at is None else "landed", loaded_at)
    return LoadResult(last.ending, _moment(last.ended_at), last.problem, last.run_id)


def freshness_of(
    loaded_at: datetime | None, policy: tuple[timedelta, timedelta] | None, now: datetime
) -> Freshness | None:
    """Return how old a table is that was loaded at `loaded_at`; None if it never was, or nothing loads it by itself."""
    if loaded_at is None or policy is None:
        return None
    age, (late, stale) = now - loaded_at, policy
    return Freshness("ERROR" if age > stale else "WARN" if age > late else "passed", age, stale)


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
        failed_rows=table_of(latest.metadata["failed_rows"].value) if "failed_rows" in latest.metadata else None,
    )


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: _plain(value.value) for name, value in metadata.items()}


def _plain(value: Any) -> Any:
    """Return `value` as the JSON of the report has it: a table as Markdown, an asset by its key."""
    if isinstance(value, dg.TableMetadataValue) and (table := table_of(value)):
        return table.markdown
    return value.to_user_string() if isinstance(value, dg.AssetKey) else value


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC).replace(microsecond=0)
