"""What became of the runs: read from Dagster's history, the latest first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from crm_assets.errors import Reason
from crm_assets.models import MODELS
from crm_assets.orchestration.jobs import RESOURCES, UNFINISHED
from crm_assets.orchestration.keys import GROUP

_LOOK_BACK = timedelta(days=2)
_AT_ONCE = 100
_WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True)
class Ended:
    """A run that succeeded or failed.

    `missing` maps each resource that it should have loaded and did not to the reason; None for a run
    that broke off, so that nobody could say one.
    """

    run_id: str
    job: str
    at: float
    """When it ended, in seconds since 1970."""
    succeeded: bool
    landed: frozenset[str]
    missing: Mapping[str, Reason | None]
    problem: str
    """What it says went wrong; empty if nothing did."""


def ended_runs(instance: dg.DagsterInstance, job: str | None = None) -> Iterator[Ended]:
    """Yield the runs of this project, or of one job, that ended in the last two days, latest first.

    Left out are runs that Dagster will try again, and those that a person ended.
    """
    for record in _records(instance, job):
        run = record.dagster_run
        planned = _planned(run)
        # Dagster marks runs that it did not launch, and so cannot try again, all the same.
        will_retry = run.tags.get(_WILL_RETRY) == "true" and run.remote_job_origin is not None
        if planned is None or will_retry:
            continue
        if run.status is dg.DagsterRunStatus.SUCCESS:
            yield Ended(run.run_id, run.job_name, _end(record), True, planned, {}, "")
        elif failed := _failed(instance, run, _end(record), planned):
            yield failed


def latest_by_resource(instance: dg.DagsterInstance) -> dict[str, Ended]:
    """Return, for each resource, the run that should have loaded it and ended last."""
    found: dict[str, Ended] = {}
    for run in ended_runs(instance):
        for resource in run.landed | run.missing.keys():
            found.setdefault(resource, run)
        if len(found) == len(MODELS):
            break
    return {resource: found[resource] for resource in MODELS if resource in found}


def being_loaded(instance: dg.DagsterInstance) -> set[str]:
    """Return the resources that a run loads at the moment, or is about to."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {resource for run in runs for resource in _planned(run) or ()}


def was_interrupted(event: dg.DagsterEvent) -> bool:
    """Return whether `event` says that a person ended the run: Ctrl-C, SIGTERM, or in the UI."""
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def what_failed(events: Iterable[dg.DagsterEvent]) -> tuple[str, Mapping[str, Reason], Reason | None]:
    """Return what the run of `events` says went wrong, why for each resource that it names, and why as a whole."""
    problem = ""
    for event in events:
        if event.is_step_failure:
            data = event.step_failure_data
            stated = data.user_failure_data
            if stated and stated.description and "reason" in stated.metadata:
                reasons = cast(Mapping[str, Reason], stated.metadata["reasons"].value)
                return stated.description, reasons, cast(Reason, stated.metadata["reason"].value)
            problem = _innermost(data.error) if data.error else event.message or problem
        elif event.is_run_failure and not problem:
            problem = event.message or ""
    return problem, {}, None


def _innermost(error: SerializableErrorInfo) -> str:
    cause = error
    while cause.cause:
        cause = cause.cause
    return f"{cause.message.strip()}\n{error.to_string()}"


def _records(instance: dg.DagsterInstance, job: str | None) -> Iterator[dg.RunRecord]:
    """Yield the runs that ended, in the order of their ends among those that were created together."""
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    wanted = dg.RunsFilter(job_name=job, statuses=statuses, created_after=datetime.now(UTC) - _LOOK_BACK)
    cursor = None
    while records := instance.get_run_records(wanted, limit=_AT_ONCE, cursor=cursor):
        yield from sorted(records, key=_end, reverse=True)
        cursor = records[-1].dagster_run.run_id


def _end(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _planned(run: dg.DagsterRun) -> frozenset[str] | None:
    """Return the resources that `run` should load; None if it is no run of this project."""
    if run.asset_selection is not None:
        ours = frozenset(key.path[-1] for key in run.asset_selection if key.path[0] == GROUP)
        return ours & MODELS.keys() if ours or run.asset_check_selection else None
    known = RESOURCES.get(run.job_name)
    return frozenset(known) if known is not None else None


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, at: float, planned: frozenset[str]) -> Ended | None:
    of_type = {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
    }
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type) if entry.dagster_event]
    if any(map(was_interrupted, events)):
        return None
    landed = {event.asset_key.path[-1] for event in events if event.asset_key}
    problem, reasons, reason = what_failed(events)
    missing = {resource: reasons.get(resource, reason) for resource in MODELS if resource in planned - landed}
    return Ended(run.run_id, run.job_name, at, False, planned & landed, missing, problem)
