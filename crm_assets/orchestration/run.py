"""Run a job of an account in this process, recorded by Dagster's instance, and say what came of it."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from sqlalchemy.exc import OperationalError

from crm_assets.account import Account
from crm_assets.errors import DiskError, Reason, SettingError
from crm_assets.orchestration import build_defs
from crm_assets.orchestration.heartbeat import process_tags
from crm_assets.orchestration.jobs import checks_only_job
from crm_assets.orchestration.keys import asset_key, checks_job, main_job, warehouse_resource
from crm_assets.orchestration.run_history import stated_failure, was_interrupted
from crm_assets.orchestration.run_reaper import reap_dead_runs


def _logging(level: str) -> dict[str, Any]:
    return {"loggers": {"console": {"config": {"log_level": level}}}}


@dataclass(frozen=True)
class Landed:
    """One table that was loaded, with the metadata of its materialization by name."""

    resource: str
    metadata: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """What the load brought and what it cost, by the name that people are told."""
        return {name: self.metadata.get(key, 0) for name, key in _COUNTS.items()}

    @property
    def fetch_seconds(self) -> float:
        """How long its listing took."""
        return float(self.metadata["fetch_seconds"])


_COUNTS = {
    "rows": "dagster/row_count",
    "new": "rows_new",
    "changed": "rows_changed",
    "deleted": "rows_deleted",
    "rejected": "rows_rejected",
    "requests": "requests",
    "retries": "retries",
}


State = Literal["passed", "WARN", "ERROR"]


@dataclass(frozen=True)
class Checked:
    """What one check found in the run."""

    key: str
    name: str
    state: State
    description: str


@dataclass(frozen=True)
class Outcome:
    """What came of one run. `problem` is None, and `reason` without meaning, when everything landed."""

    account: Account
    landed: Sequence[Landed]
    checked: Sequence[Checked]
    problem: str | None
    reason: Reason


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """Open Dagster's instance, the history of runs.

    It keeps no copy of what this process prints. Dagster makes one by taking the terminal away from the process, whose
    output then comes late, and by helpers of its own that a Ctrl-C ends with tracebacks.

    Raises:
        SettingError: DAGSTER_HOME is no folder.
        DiskError: the history cannot be written, when it is opened or inside the block.
    """
    none = NoOpComputeLogManager
    overrides: Any = {"compute_logs": {"module": none.__module__, "class": none.__name__}}
    home = os.environ["DAGSTER_HOME"]
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise SettingError(
            f"DAGSTER_HOME is {home!r}, which is not the absolute path of a folder: Dagster keeps the history of runs "
            "there. Create the folder, or set DAGSTER_HOME to the one that you have. Nothing was loaded."
        )
    try:
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(home, overrides=overrides)) as opened:
            yield opened
    except OperationalError as error:
        if isinstance(error.orig, sqlite3.OperationalError):
            raise _not_written(home, str(error.orig)) from error
        raise
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(home):
            raise _not_written(home, error.strerror or str(error)) from error
        raise


def _not_written(home: str, problem: str) -> DiskError:
    return DiskError(
        f"Dagster's history in {home} (DAGSTER_HOME) cannot be written: {problem}. Free some disk space there, or "
        "allow this user to write there, and run again. Tables that this run has loaded stay loaded."
    )


def run(account: Account, resources: Sequence[str], *, allow_deletes: bool = False, verbose: bool = False) -> Outcome:
    """Load `resources`, or all of them if there are none, check their tables, and return what landed.

    Args:
        account: whose resources they are.
        resources: names of the resources.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.
        verbose: whether Dagster prints what it logs.

    Raises:
        ApiConfigError: a name is not known.
        KeyboardInterrupt: somebody ended the run.
    """
    keys = [asset_key(account, resource.name) for resource in account.select(resources)]
    warehouse = {warehouse_resource(account): {"config": {"allow_deletes": allow_deletes}}}
    with instance() as history:
        reap_dead_runs(history)
        run_id = str(uuid4())
        result = (
            build_defs(account)
            .resolve_job_def(main_job(account))
            .execute_in_process(
                instance=history,
                run_id=run_id,
                tags=process_tags(run_id),
                asset_selection=keys,
                run_config={**_logging("DEBUG" if verbose else "CRITICAL"), "resources": warehouse},
                raise_on_error=False,
            )
        )
    return _outcome(account, result)


def run_checks(account: Account, resources: Sequence[str]) -> Outcome:
    """Check the tables of `resources`, or all of them if there are none, and load nothing.

    Raises:
        ApiConfigError: a name is not known.
        KeyboardInterrupt: somebody ended the run.
    """
    defs = build_defs(account)
    job = checks_only_job(account, account.select(resources))
    with instance() as history:
        result = (
            dg.Definitions(assets=defs.assets, resources=defs.resources, jobs=[job])
            .resolve_job_def(checks_job(account))
            .execute_in_process(instance=history, run_config=_logging("CRITICAL"), raise_on_error=False)
        )
    return _outcome(account, result)


def _outcome(account: Account, result: dg.ExecuteInProcessResult) -> Outcome:
    tables = {asset_key(account, resource.name) for resource in account.resources}
    landed = [_landed(event) for event in result.get_asset_materialization_events() if event.asset_key in tables]
    checked = [_checked(one) for one in result.get_asset_check_evaluations()]
    if result.success:
        return Outcome(account, landed, checked, None, "data")
    if any(map(was_interrupted, result.all_events)):
        raise KeyboardInterrupt
    for event in result.all_events:
        if stated := stated_failure(event, account):
            return Outcome(account, landed, checked, stated.text, stated.reason or "data")
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    said = [error.to_string() for error in errors if error]
    problem = "\n".join(said) or "The run failed before its step began; see it in the Dagster UI."
    return Outcome(account, landed, checked, problem, "data")


def _checked(one: dg.AssetCheckEvaluation) -> Checked:
    state: State = "passed" if one.passed else one.severity.value
    return Checked(one.asset_key.to_user_string(), one.check_name, state, one.description or "")


def _landed(event: dg.DagsterEvent) -> Landed:
    materialization = event.step_materialization_data.materialization
    values = {name: value.value for name, value in materialization.metadata.items()}
    return Landed(materialization.asset_key.path[-1], values)
