"""Run the main job in this process, recorded by Dagster's instance, and say what came of it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg

from crm_assets.api.guide import select
from crm_assets.assets import TABLE
from crm_assets.definitions import CHECKS_JOB, MAIN_JOB, defs
from crm_assets.errors import Reason
from crm_assets.keys import asset_key

_PID = "crm_assets/pid"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Landed:
    """One table that was loaded, with the metadata of its materialization by name."""

    resource: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of one run. `problem` is None, and `reason` without meaning, when everything landed."""

    landed: Sequence[Landed]
    problem: str | None
    reason: Reason


def instance() -> dg.DagsterInstance:
    """Return Dagster's instance, the history of runs, as a context manager."""
    return dg.DagsterInstance.get()


def run(resources: Sequence[str]) -> Outcome:
    """Load `resources`, or all of them if there are none, judge their tables, and return what landed.

    Raises:
        EndpointTableError: a name is not known.
        KeyboardInterrupt: somebody ended the run.
    """
    rows = select(TABLE, resources or None)
    with instance() as history:
        _bury_the_dead(history)
        result = defs.resolve_job_def(MAIN_JOB).execute_in_process(
            instance=history,
            tags={_PID: str(os.getpid())},
            asset_selection=[asset_key(row["name"]) for row in rows],
            run_config=_QUIET,
            raise_on_error=False,
        )
    return Outcome([_landed(event) for event in result.get_asset_materialization_events()], *_problem(result))


def run_checks(resources: Sequence[str]) -> Outcome:
    """Judge the tables of `resources`, or all of them if there are none, and load nothing.

    Raises:
        EndpointTableError: a name is not known.
        KeyboardInterrupt: somebody ended the run.
    """
    keys = [asset_key(row["name"]) for row in select(TABLE, resources or None)]
    job = dg.define_asset_job(CHECKS_JOB, selection=dg.AssetSelection.checks_for_assets(*keys))
    with instance() as history:
        result = (
            dg.Definitions(assets=defs.assets, resources=defs.resources, jobs=[job], executor=defs.executor)
            .resolve_job_def(CHECKS_JOB)
            .execute_in_process(instance=history, run_config=_QUIET, raise_on_error=False)
        )
    return Outcome([], *_problem(result))


def _bury_the_dead(history: dg.DagsterInstance) -> None:
    """Report runs of this command whose process was killed as failed: nobody else would ever end them."""
    for run in history.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        pid = run.tags.get(_PID)
        if pid and not _lives(int(pid)):
            history.report_run_failed(run, "The process that ran it was killed.")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _landed(event: dg.DagsterEvent) -> Landed:
    materialization = event.step_materialization_data.materialization
    values = {name: value.value for name, value in materialization.metadata.items()}
    return Landed(materialization.asset_key.path[-1], values)


def _problem(result: dg.ExecuteInProcessResult) -> tuple[str | None, Reason]:
    if result.success:
        return None, "data"
    for event in reversed(result.all_events):
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data.user_failure_data
        if failure and failure.description and "reason" in failure.metadata:
            return failure.description, cast(Reason, failure.metadata["reason"].value)
        if event.step_failure_data.error:
            if event.step_failure_data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                raise KeyboardInterrupt
            return event.step_failure_data.error.to_string(), "data"
    return "The run failed before its step began; see the run in the Dagster UI.", "data"
