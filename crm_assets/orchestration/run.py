"""Run the main job in this process, recorded by Dagster's instance, and say what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dagster as dg

from crm_assets.apis.api_config import select
from crm_assets.definitions import defs
from crm_assets.errors import Reason
from crm_assets.orchestration.assets import TABLE
from crm_assets.orchestration.jobs import CHECKS_JOB, MAIN_JOB
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.run_history import was_interrupted, what_failed
from crm_assets.orchestration.run_reaper import process_tags, reap_dead_runs

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


def run(resources: Sequence[str], *, allow_deletes: bool = False) -> Outcome:
    """Load `resources`, or all of them if there are none, judge their tables, and return what landed.

    Args:
        resources: names of the resources.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.

    Raises:
        ApiConfigError: a name is not known.
        KeyboardInterrupt: somebody ended the run.
    """
    rows = select(TABLE, resources or None)
    with instance() as history:
        reap_dead_runs(history)
        run_id = str(uuid4())
        result = defs.resolve_job_def(MAIN_JOB).execute_in_process(
            instance=history,
            run_id=run_id,
            tags=process_tags(run_id),
            asset_selection=[asset_key(row["name"]) for row in rows],
            run_config={**_QUIET, "resources": {"warehouse": {"config": {"allow_deletes": allow_deletes}}}},
            raise_on_error=False,
        )
    return Outcome([_landed(event) for event in result.get_asset_materialization_events()], *_problem(result))


def run_checks(resources: Sequence[str]) -> Outcome:
    """Judge the tables of `resources`, or all of them if there are none, and load nothing.

    Raises:
        ApiConfigError: a name is not known.
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


def _landed(event: dg.DagsterEvent) -> Landed:
    materialization = event.step_materialization_data.materialization
    values = {name: value.value for name, value in materialization.metadata.items()}
    return Landed(materialization.asset_key.path[-1], values)


def _problem(result: dg.ExecuteInProcessResult) -> tuple[str | None, Reason]:
    if result.success:
        return None, "data"
    for event in result.all_events:
        if was_interrupted(event):
            raise KeyboardInterrupt
    problem, _, reason = what_failed(result.all_events)
    return problem or "The run failed before its step began; see the run in the Dagster UI.", reason or "data"
