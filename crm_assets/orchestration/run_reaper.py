"""Runs whose process was killed: nobody else would ever end them, and the queue would wait for them."""

import os
from pathlib import Path
from socket import gethostname

import dagster as dg

_PROCESS = "crm_assets/process"


def process_tags(run_id: str) -> dict[str, str]:
    """Return the tags of the run `run_id`, which this process executes.

    They name the run, because Dagster copies tags to the run that tries it again.
    """
    pid = os.getpid()
    return {_PROCESS: f"{gethostname()}/{pid}/{_began(pid)}/{run_id}"}


def reap_dead_runs(instance: dg.DagsterInstance) -> None:
    """Report every run whose process on this machine is gone as failed."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        match run.tags.get(_PROCESS, "").split("/"):
            case [host, pid, began, run.run_id] if host == gethostname() and not _lives(int(pid), began):
                instance.report_run_failed(run, "The process that ran it was killed.")


def _lives(pid: int, began: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _began(pid) == began


def _began(pid: int) -> str:
    """Return when process `pid` began, as Linux says it; empty elsewhere.

    In a container that is started again, the same number is soon another process.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
