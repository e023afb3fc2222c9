"""People hear of what is wrong, once, and once more when it is over."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState

from crm_assets.account import Account
from crm_assets.alerts.incidents import Ledger, Problem, Subject
from crm_assets.alerts.messages import message
from crm_assets.errors import SettingError
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.keys import asset_key, checks_job, job_names
from crm_assets.orchestration.run_history import LastLoad, last_loads, last_run
from crm_assets.orchestration.sensors.crm_probe import sensor_status
from crm_assets.orchestration.sensors.cursors import parse_cursor
from crm_assets.settings import AlertSettings
from crm_assets.text import counted

if TYPE_CHECKING:
    from crm_assets.alerts.delivery import Channel

_TICK = 15
_SENDING = 30.0
"""Seconds within which a tick sends; what is left then goes out at the next."""

Seen = Iterator[tuple[Subject, Problem | None]]


def alerts_sensor(account: Account) -> dg.SensorDefinition:
    """Return the sensor that tells people what is wrong with `account`."""

    @dg.sensor(
        name=f"{account.name}_alerts",
        minimum_interval_seconds=_TICK,
        default_status=sensor_status(account),
        description="Sends an alert when a run or check fails or a table is stale, and another when that is resolved.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return alert(context, account)

    return alerts


def alert(context: dg.SensorEvaluationContext, account: Account) -> dg.SensorResult:
    """Compare what is wrong with the incidents that are known, and tell what is new."""
    from crm_assets.alerts.delivery import channels

    try:
        settings = AlertSettings.read(account.name, account.alerts)
        ways = channels(settings)
    except SettingError as error:
        return _skip(context.cursor, str(error))
    if not ways:
        return _skip(context.cursor, "No alert channel is configured: set alerts.webhook_url or alerts.urls.")
    ledger = parse_cursor(Ledger, context.cursor) or Ledger()
    seen = dict.fromkeys(ledger.subjects() - _possible(account)) | _observed(context.instance, account)
    ledger.see(seen, ways.keys())
    told, problems = _tell(ledger, ways, settings.base_url)
    waiting = sum(map(len, ledger.pending.values()))
    open_, sent = counted(len(ledger.open), "open incident"), counted(told, "message")
    state = f"{open_}, {sent} sent, {waiting} waiting for the next tick."
    return _skip(ledger.model_dump_json(), " ".join([state, *problems]))


def _skip(cursor: str | None, why: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=cursor)


def _tell(ledger: Ledger, ways: "Mapping[str, Channel]", base_url: str) -> tuple[int, list[str]]:
    """Send what is pending, the oldest first, and return how many messages went out and what went wrong."""
    from crm_assets.alerts.delivery import Undelivered

    told = 0
    problems = []
    deadline = monotonic() + _SENDING
    for name, pending in ledger.pending.items():
        while pending and monotonic() < deadline:
            try:
                ways[name](message(pending[0], base_url))
            except Undelivered as error:
                problems.append(str(error))
                break
            pending.pop(0)
            told += 1
    return told, problems


def _observed(instance: dg.DagsterInstance, account: Account) -> dict[Subject, Problem | None]:
    """Return what is wrong with each subject that can be judged now; None if nothing is."""
    loads = last_loads(instance, account)
    return dict([*_loads(account, loads), *_jobs(instance, account, loads), *_checks(instance, account)]) | dict(
        _freshness(instance, account)
    )


def _loads(account: Account, loads: Mapping[str, LastLoad]) -> Seen:
    for resource, load in loads.items():
        subject: Subject = ("run", asset_key(account, resource).to_user_string())
        if load.ending == "landed":
            yield subject, None
        elif load.ending == "failed":
            yield subject, _problem(load, resource)


def _jobs(instance: dg.DagsterInstance, account: Account, loads: Mapping[str, LastLoad]) -> Seen:
    """Look for runs that failed although all their tables have landed, and at the job that loads none."""
    failed = {load.job: load for load in loads.values() if load.ending == "landed" and load.failure}
    failed = {job: load for job, load in failed.items() if load.failure and not load.failure.reasons}
    checks = last_run(instance, account, checks_job(account))
    for job in _job_names(account):
        load = checks if job == checks_job(account) else failed.get(job, LastLoad("landed"))
        if load.ending != "unknown":
            yield ("run", job), _problem(load) if load.failure else None


def _problem(load: LastLoad, resource: str = "") -> Problem | None:
    if load.failure is None:
        return None
    return Problem(
        _moment(load.ended_at), load.run_id, load.failure.text, load.run_id, load.failure.reason_of(resource)
    )


def _checks(instance: dg.DagsterInstance, account: Account) -> Seen:
    """Look at the latest outcome of each check."""
    keys = [spec.key for spec in check_specs(account)]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key, record in latest.items():
        event = record.event.dagster_event if record.event else None
        if event is None or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        outcome = event.asset_check_evaluation_data
        subject: Subject = ("check", _name(key))
        if outcome.passed or outcome.severity is not dg.AssetCheckSeverity.ERROR:
            yield subject, None
        else:
            text = f"{subject[1]}: {outcome.description}"
            yield subject, Problem(_moment(record.create_timestamp), record.run_id, text, record.run_id)


def _freshness(instance: dg.DagsterInstance, account: Account) -> Seen:
    """Look at how Dagster's daemon judges the age of each table."""
    keys = [asset_key(account, resource.name) for resource in account.resources]
    loaded = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.event_log_storage.get_asset_records(keys)
    }
    for key, record in instance.get_freshness_state_records(keys).items():
        name = key.to_user_string()
        last = loaded.get(key)
        # The daemon looks at intervals: what was loaded since is not stale any more.
        since = last is not None and _moment(last.timestamp) > record.updated_at
        stale = record.freshness_state is FreshnessState.FAIL and not since
        text = f"{name} has missed its last four loads."
        yield ("freshness", name), Problem(record.updated_at, "freshness", text) if stale else None


def _possible(account: Account) -> set[Subject]:
    """Return all that can be wrong with the assets, checks and jobs as they are now."""
    assets = [asset_key(account, resource.name).to_user_string() for resource in account.resources]
    found: set[Subject] = {("run", name) for name in (*assets, *_job_names(account))}
    found |= {("freshness", name) for name in assets}
    return found | {("check", _name(spec.key)) for spec in check_specs(account)}


def _job_names(account: Account) -> list[str]:
    """Return the jobs of `account`, and the one that Dagster gives to what is started without a job."""
    return [*job_names(account), "__ASSET_JOB"]


def _name(check: dg.AssetCheckKey) -> str:
    return f"{check.asset_key.to_user_string()} {check.name}"


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
