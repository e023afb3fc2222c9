"""Runs whose process or machine died: nobody else would ever end them, and the queue would wait for them."""

from collections.abc import Collection, Sequence
from socket import gethostname

import dagster as dg
import psutil
from pydantic import BaseModel

from crm_assets.account import Account
from crm_assets.orchestration.heartbeat import BEAT, RunProcess, boot, machine, process_of

_GAP = 60.0
"""Seconds without a new heartbeat after which a run is ended."""
_PATIENCE = 120.0
"""The same for a run that has none: its step has not begun, or has ended."""
_LONG_PAUSE = 120.0
"""Seconds between two looks after which what was seen before counts for nothing."""
_JOB = ".dagster/crm_assets_job"
_WITHIN = 1.0
"""Seconds by which two readings of one process's start may differ."""


def job_tags(account: Account) -> dict[str, str]:
    """Return the tags of all runs of the jobs of `account`, by which they are told from others of the same name."""
    return {_JOB: account.name}


def reap_dead_runs(instance: dg.DagsterInstance) -> None:
    """Report every run whose process on this machine is gone as failed."""
    for run in _started(instance):
        _end_if_gone(instance, run, process_of(run))


class Silence(BaseModel):
    """What a run said last, and for how long it has said nothing else."""

    process: RunProcess | None
    seconds: float


class Silences(BaseModel):
    """What a monitor has seen of the runs that work. A sensor keeps it: its process may be another one every minute."""

    clock: str = ""
    """The machine, since it was started, by whose clock this is."""
    looked_at: float = 0.0
    runs: dict[str, Silence] = {}


class HeartbeatMonitor:
    """Ends runs on whatever machine, when their process is gone or their heartbeat has stopped.

    No clocks of two machines are compared: the monitor counts for how long it has itself seen nothing new. The time
    between two looks counts as one heartbeat at the most, since nobody knows what happened meanwhile: this process may
    have slept, or the database was away. After a long pause, on another machine, or after an error of the database, it
    begins anew.

    Attributes:
        seen: what it has seen so far.

    Args:
        seen: what was seen before.
        jobs: names of an account's jobs, whose runs are judged although nothing on them says whose they are: whoever
            launches a run through GraphQL says what its tags are.
        gap: seconds without a new heartbeat after which a run is ended.
        patience: the same for a run of an account's job that has no heartbeat.
    """

    def __init__(
        self,
        seen: Silences | None = None,
        jobs: Collection[str] = (),
        gap: float = _GAP,
        patience: float = _PATIENCE,
    ) -> None:
        self.seen = seen or Silences()
        self._jobs = jobs
        self._gap = gap
        self._patience = patience

    def reap(self, instance: dg.DagsterInstance, now: float, location: str | None = None) -> None:
        """Look at the runs that work, and report those as failed that are dead.

        Args:
            instance: whose runs they are.
            now: seconds, by a clock of this machine that is never set, and the same for all processes.
            location: name of the code location that has the account's jobs; others may have jobs of the same names.
        """
        before, self.seen = self.seen, Silences(clock=boot(), looked_at=now)
        passed = now - before.looked_at
        known_runs = before.runs if before.clock == boot() and 0 <= passed <= _LONG_PAUSE else {}
        silences = {}
        for run in _started(instance):
            process = process_of(run)
            limit = self._limit(run, process, location)
            if limit is None:
                _end_if_gone(instance, run, process)
                continue
            known = known_runs.get(run.run_id)
            seconds = known.seconds + min(passed, BEAT) if known and known.process == process else 0.0
            if seconds < limit:
                silences[run.run_id] = Silence(process=process, seconds=seconds)
            elif _is_unchanged(instance, run) and not _waits_for_pool(instance, run):
                instance.report_run_failed(run, f"{_where(process)} has given no sign of life for {seconds:.0f} s.")
        self.seen.runs = silences

    def _limit(self, run: dg.DagsterRun, process: RunProcess | None, location: str | None) -> float | None:
        """Return after how many seconds the silence of `run` means that it is dead; None if it means nothing."""
        if process and _is_here(process):
            return None
        if process and process.beat:
            return self._gap
        is_of_the_account = location is not None and run.job_name in self._jobs and _location_of(run) == location
        return self._patience if _JOB in run.tags or is_of_the_account else None


def _started(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


def _end_if_gone(instance: dg.DagsterInstance, run: dg.DagsterRun, process: RunProcess | None) -> None:
    if process and _is_here(process) and not _lives(process) and _is_unchanged(instance, run):
        instance.report_run_failed(run, "The process that ran it was killed.")


def _is_here(process: RunProcess) -> bool:
    return process.machine in (machine(), gethostname())  # the name alone: an earlier version began the run


def _lives(process: RunProcess) -> bool:
    # In a container that is started again, the same number is soon another process.
    try:
        return bool(abs(psutil.Process(process.pid).create_time() - process.created) < _WITHIN)
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _is_unchanged(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether `run` has neither ended nor given a sign of life since it was read, nor another has ended it."""
    again = instance.get_run_by_id(run.run_id)
    return again is not None and again.status is run.status and process_of(again) == process_of(run)


def _waits_for_pool(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the step of `run` waits for a slot, as it does where `pools.granularity` is `op`."""
    log = instance.event_log_storage
    infos = (
        log.get_concurrency_infos(list(log.get_concurrency_keys())) if log.supports_global_concurrency_limits else {}
    )
    return any(run.run_id in info.pending_run_ids for info in infos.values())


def _location_of(run: dg.DagsterRun) -> str | None:
    origin = run.remote_job_origin
    return origin.repository_origin.code_location_origin.location_name if origin else None


def _where(process: RunProcess | None) -> str:
    return f"The process that ran it, on {process.machine.split(':')[0]}," if process else "The process that ran it"
