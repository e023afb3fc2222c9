"""Runs whose process was killed: nobody else would ever end them, and the queue would wait for them."""

import os
from socket import gethostname

import dagster as dg

_PROCESS = "crm_assets/process"


def process_tags() -> dict[str, str]:
    """Return the tags of a run that this process executes."""
    return {_PROCESS: f"{gethostname()}/{os.getpid()}"}


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Report every run whose process on this machine is gone as failed."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, pid = run.tags.get(_PROCESS, "").rpartition("/")
        if host == gethostname() and not _lives(int(pid)):
            instance.report_run_failed(run, "The process that ran it was killed.")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
