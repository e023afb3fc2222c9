"""How the last load of each resource ended, read from Dagster's instance.

A step that fails says once, as data, which resources did not load and why: `failure` writes it, `last_loads` reads it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from time import time
from typing import Literal, cast

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from crm_assets.account import Account
from crm_assets.errors import CrmAssetsError, PartialSyncError, Reason
from crm_assets.orchestration.keys import asset_key

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""The states of a run that still works, or will."""
_WILL_RETRY = "dagster/will_retry"
_RETRIED_AS = "dagster/auto_retry_run_id"
_RETRY_WITHIN = 120.0
"""Seconds within which Dagster's daemon tries a run again, if ever."""

Ending = Literal["landed", "failed", "running", "unknown"]
"""`unknown` is a run that a person ended, that Dagster will try again, or that is no longer in the history."""


@dataclass(frozen=True)
class Failure:
    """Why a step of an account failed."""

    text: str
    reason: Reason | None
    """What kind of help is needed; None for a run that broke off, so that nobody could say."""
    reasons: Mapping[str, Reason]
    """The same for each resource that did not load."""
    problems: Mapping[str, str]
    """What became of each of them, in words."""

    def reason_of(self, resource: str) -> Reason | None:
        """Return what kind of help `resource` needs."""
        return self.reasons.get(resource, self.reason)


@dataclass(frozen=True)
class LastLoad:
    """The latest run that should have loaded a resource, and how that ended for the resource."""

    ending: Ending
    run_id: str = ""
    job: str = ""
    ended_at: float = 0.0
    """Seconds since 1970."""
    failure: Failure | None = None
    """Why the run failed; a run can fail although the resource has landed."""
    problem: str = ""
    """Why the resource did not load, if it did not."""
    seconds: float | None = None
    """How long the run took, if it is over and `recent_loads` says it."""
    will_retry: bool = False
    """Whether Dagster says that it will try the run again."""

    def why(self, resource: str) -> str:
        """Return what the run said of `resource`, or else of itself."""
        return self.failure.problems.get(resource, self.failure.text) if self.failure else ""


def failure(account: Account, error: CrmAssetsError) -> dg.Failure:
    """Return what Dagster is told of `error`, which ended a step of `account`."""
    reasons, problems = (error.reasons, error.problems) if isinstance(error, PartialSyncError) else ({}, {})
    return dg.Failure(
        str(error),
        metadata={
            "account": account.name,
            "reason": error.reason,
            "reasons": dg.MetadataValue.json(reasons),
            "problems": dg.MetadataValue.json(problems),
        },
        allow_retries=False,
    )


def last_loads(instance: dg.DagsterInstance, account: Account) -> dict[str, LastLoad]:
    """Return how the last load of each resource of `account` ended; nothing for one that was never to be loaded."""
    names = {asset_key(account, resource.name): resource.name for resource in account.resources}
    entries = [record.asset_entry for record in instance.get_asset_records(list(names))]
    run_ids = {entry.last_run_id for entry in entries if entry.last_run_id}
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []
    ends = {record.dagster_run.run_id: _end_of(instance, account, record) for record in records}
    found = {}
    for entry in entries:
        end = ends.get(entry.last_run_id or "", LastLoad("unknown"))
        landed = entry.last_materialization is not None and entry.last_materialization.run_id == entry.last_run_id
        is_over = end.ending in ("failed", "landed")
        name = names[entry.asset_key]
        found[name] = replace(end, ending="landed") if landed and is_over else replace(end, problem=end.why(name))
    return {resource.name: found[resource.name] for resource in account.resources if resource.name in found}


def recent_loads(instance: dg.DagsterInstance, account: Account, limit: int) -> dict[str, list[LastLoad]]:
    """Return the last `limit` runs that should have loaded each resource of `account`, the latest first.

    `ending` and `problem` are about the run: the resource may have landed all the same.
    """
    planned = {
        resource.name: _planned(instance, asset_key(account, resource.name), limit) for resource in account.resources
    }
    run_ids = {run_id for found in planned.values() for run_id in found}
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []
    ends = {
        record.dagster_run.run_id: replace(_end_of(instance, account, record), seconds=_seconds(record))
        for record in records
    }
    return {
        name: [replace(ends[run_id], problem=ends[run_id].why(name)) for run_id in found if run_id in ends]
        for name, found in planned.items()
    }


def _planned(instance: dg.DagsterInstance, key: dg.AssetKey, limit: int) -> list[str]:
    """Return the last runs that should have materialized `key`, the latest first."""
    planned = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=key)
    records = instance.event_log_storage.get_event_records(planned, limit=limit)
    return [record.run_id for record in records]


def _seconds(record: dg.RunRecord) -> float | None:
    return record.end_time - record.start_time if record.end_time and record.start_time else None


def last_run(instance: dg.DagsterInstance, account: Account, job: str) -> LastLoad:
    """Return how the latest finished run of `job` ended."""
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=statuses), limit=1):
        return _end_of(instance, account, record)
    return LastLoad("unknown")


def was_interrupted(event: dg.DagsterEvent) -> bool:
    """Return whether `event` says that a person ended the run: Ctrl-C, SIGTERM, or in the UI."""
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def stated_failure(event: dg.DagsterEvent, account: Account) -> Failure | None:
    """Return what a failed step of `account` said of itself; None if `event` is something else."""
    stated = event.step_failure_data.user_failure_data if event.is_step_failure else None
    if stated is None or "account" not in stated.metadata or stated.metadata["account"].value != account.name:
        return None
    return Failure(
        stated.description or "",
        cast(Reason, stated.metadata["reason"].value),
        cast(Mapping[str, Reason], stated.metadata["reasons"].value),
        cast(Mapping[str, str], stated.metadata["problems"].value),
    )


def _end_of(instance: dg.DagsterInstance, account: Account, record: dg.RunRecord) -> LastLoad:
    run = record.dagster_run
    at = record.end_time or record.update_timestamp.timestamp()
    if run.status in UNFINISHED:
        return LastLoad("running", run.run_id, run.job_name, at)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return LastLoad("landed", run.run_id, run.job_name, at)
    if _is_retried(run, at):
        return LastLoad("unknown", run.run_id, run.job_name, at, will_retry=True)
    events = list(_failures(instance, run.run_id))
    if run.status is not dg.DagsterRunStatus.FAILURE or any(map(was_interrupted, events)):
        return LastLoad("unknown", run.run_id, run.job_name, at)
    stated = next((found for event in events if (found := stated_failure(event, account))), None)
    return LastLoad("failed", run.run_id, run.job_name, at, stated or Failure(_text(events), None, {}, {}))


def _is_retried(run: dg.DagsterRun, ended_at: float) -> bool:
    """Return whether Dagster tries `run` again, which ended at `ended_at`."""
    # Dagster marks runs that it did not launch, and so cannot try again, all the same.
    if run.tags.get(_WILL_RETRY) != "true" or run.remote_job_origin is None:
        return False
    return _RETRIED_AS in run.tags or time() < ended_at + _RETRY_WITHIN


def _failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.DagsterEvent]:
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=kinds):
        if entry.dagster_event:
            yield entry.dagster_event


def _text(events: list[dg.DagsterEvent]) -> str:
    """Return what Dagster says of a run that broke off."""
    errors = [event.step_failure_data.error for event in events if event.is_step_failure]
    said = [_innermost(error).message.strip() for error in errors if error]
    return "\n".join(said or [event.message or "" for event in events])


def _innermost(error: SerializableErrorInfo) -> SerializableErrorInfo:
    return _innermost(error.cause) if error.cause else error
