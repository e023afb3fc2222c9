"""`crm_alerts`: people hear of what is wrong, once, and once more when it is over."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from time import monotonic

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState

from crm_assets.alerts.delivery import Channel, Undelivered, channels
from crm_assets.alerts.incidents import Ledger, Problem, Subject
from crm_assets.alerts.messages import counted, message
from crm_assets.errors import Reason, SettingError
from crm_assets.models import MODELS
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.jobs import RESOURCES
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.run_history import Ended, ended_runs, latest_by_resource
from crm_assets.orchestration.sensors.crm_probe import SWITCH
from crm_assets.orchestration.sensors.cursors import known
from crm_assets.settings import AlertSettings

_JOBS = (*RESOURCES, "__ASSET_JOB")
"""Ours, and the one that Dagster gives to what is started without a job."""
_TICK = 15
_WHOLE_TICK = 30.0
"""Seconds within which a tick sends; what is left then goes out at the next."""

Seen = Iterator[tuple[Subject, Problem | None]]


@dg.sensor(
    name="crm_alerts",
    minimum_interval_seconds=_TICK,
    default_status=SWITCH,
    description="Tells people of failed runs, failed checks and stale tables: once, and when it is over.",
)
def crm_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare what is wrong with the incidents that are known, and tell what is new."""
    try:
        settings = AlertSettings.read()
        ways = channels(settings)
    except SettingError as error:
        return _skip(context.cursor, str(error))
    if not ways:
        return _skip(context.cursor, "Nobody to tell: neither alerts.webhook_url nor alerts.urls is set.")
    ledger = known(Ledger, context.cursor) or Ledger()
    no_more: Seen = ((subject, None) for subject in ledger.subjects() - _possible())
    seen = chain(_runs(context.instance), _checks(context.instance), _freshness(context.instance), no_more)
    ledger.see(dict(seen), ways.keys())
    told, problems = _tell(ledger, ways, settings.base_url)
    waiting = sum(map(len, ledger.pending.values()))
    open_, sent = counted(len(ledger.open), "open incident"), counted(told, "message")
    state = f"{open_}, {sent} sent, {waiting} waiting for the next tick."
    return _skip(ledger.model_dump_json(), " ".join([state, *problems]))


def _skip(cursor: str | None, why: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=cursor)


def _tell(ledger: Ledger, ways: Mapping[str, Channel], base_url: str) -> tuple[int, list[str]]:
    """Send what is pending, the oldest first, and return how many messages went out and what went wrong."""
    told = 0
    problems = []
    deadline = monotonic() + _WHOLE_TICK
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


def _runs(instance: dg.DagsterInstance) -> Seen:
    """TableStats at the latest run of each table, and at the latest of each job: it can fail with all tables loaded."""
    for resource, run in latest_by_resource(instance).items():
        subject: Subject = ("run", asset_key(resource).to_user_string())
        yield subject, _failed(run, run.missing[resource]) if resource in run.missing else None
    for job in _JOBS:
        for run in islice(ended_runs(instance, job), 1):
            yield ("run", job), None if run.succeeded or run.missing else _failed(run, None)


def _failed(run: Ended, reason: Reason | None) -> Problem:
    return Problem(_moment(run.at), run.run_id, run.problem, run.run_id, reason)


def _checks(instance: dg.DagsterInstance) -> Seen:
    """TableStats at the latest outcome of each check."""
    keys = [spec.key for spec in check_specs()]
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


def _freshness(instance: dg.DagsterInstance) -> Seen:
    """TableStats at how Dagster's daemon judges the age of each table."""
    keys = [asset_key(resource) for resource in MODELS]
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
        text = f"{name} was not loaded for so long that four loads were missed."
        yield ("freshness", name), Problem(record.updated_at, "freshness", text) if stale else None


def _possible() -> set[Subject]:
    """Return all that can be wrong with the assets, checks and jobs as they are now."""
    assets = [asset_key(resource).to_user_string() for resource in MODELS]
    found: set[Subject] = {("run", name) for name in (*assets, *_JOBS)} | {("freshness", name) for name in assets}
    return found | {("check", _name(spec.key)) for spec in check_specs()}


def _name(check: dg.AssetCheckKey) -> str:
    return f"{check.asset_key.to_user_string()} {check.name}"


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
