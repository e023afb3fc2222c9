"""What became of the runs: read from Dagster's history, the latest first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import dagster as dg

from crm_assets.errors import Reason
from crm_assets.jobs import RESOURCES, UNFINISHED
from crm_assets.keys import GROUP
from crm_assets.schemas import MODELS

_LOOK_BACK = 500
"""Runs. More than a frequent job starts in a day."""
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
    """Yield the runs of this project, or of one job, that ended and that Dagster will not try again, latest first."""
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=statuses), limit=_LOOK_BACK):
        run = record.dagster_run
        planned = _planned(run)
        if planned is None or run.tags.get(_WILL_RETRY) == "true":
            continue
        at = record.end_time or record.update_timestamp.timestamp()
        if run.status is dg.DagsterRunStatus.SUCCESS:
            yield Ended(run.run_id, run.job_name, at, True, planned, {}, "")
        else:
            yield _failed(instance, run, at, planned)


def latest_by_resource(instance: dg.DagsterInstance) -> dict[str, Ended]:
    """Return, for each resource, the latest run that ended and should have loaded it."""
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
            problem = data.error.to_string() if data.error else event.message or problem
        elif event.is_run_failure and not problem:
            problem = event.message or ""
    return problem, {}, None


def _planned(run: dg.DagsterRun) -> frozenset[str] | None:
    """Return the resources that `run` should load; None if it is no run of this project."""
    if run.asset_selection is not None:
        ours = frozenset(key.path[-1] for key in run.asset_selection if key.path[0] == GROUP)
        return ours & MODELS.keys() if ours or run.asset_check_selection else None
    known = RESOURCES.get(run.job_name)
    return frozenset(known) if known is not None else None


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, at: float, planned: frozenset[str]) -> Ended:
    of_type = {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
    }
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type) if entry.dagster_event]
    landed = {event.asset_key.path[-1] for event in events if event.asset_key}
    problem, reasons, reason = what_failed(events)
    missing = {resource: reasons.get(resource, reason) for resource in MODELS if resource in planned - landed}
    return Ended(run.run_id, run.job_name, at, False, planned & landed, missing, problem)
