"""Runs whose process was killed: nobody else would ever end them, and the queue would wait for them."""

import os
from socket import gethostname

import dagster as dg
import psutil

_PROCESS = ".dagster/crm_assets_process"
"""Dagster's UI hides tags that begin so."""
_PROCESS_BEFORE = "crm_assets/process"
"""The name of earlier versions, for runs that began before an upgrade."""
_WITHIN = 1.0
"""Seconds by which two readings of one process's start may differ."""


def process_tags(run_id: str) -> dict[str, str]:
    """Return the tags of the run `run_id`, which this process executes.

    They name the run, because Dagster copies tags to the run that tries it again.
    """
    return {_PROCESS: f"{gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}/{run_id}"}


def tag_process(context: dg.AssetExecutionContext) -> None:
    """Tag the run of `context` with this process, if it executes the whole run and not just a step of it."""
    if context.job_def.executor_def.name in (dg.in_process_executor.name, "execute_in_process"):
        context.instance.add_run_tags(context.run.run_id, process_tags(context.run.run_id))


def reap_dead_runs(instance: dg.DagsterInstance) -> None:
    """Report every run whose process on this machine is gone as failed."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        match (run.tags.get(_PROCESS) or run.tags.get(_PROCESS_BEFORE, "")).split("/"):
            case [host, pid, started, run.run_id] if host == gethostname() and not _lives(int(pid), float(started)):
                instance.report_run_failed(run, "The process that ran it was killed.")


def _lives(pid: int, started: float) -> bool:
    # In a container that is started again, the same number is soon another process.
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < _WITHIN)
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
