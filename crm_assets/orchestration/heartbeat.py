"""The tag by which a run says which process executes it, and that this process lives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from socket import gethostname
from threading import Event, Thread
from typing import NamedTuple
from uuid import uuid4

import dagster as dg
import psutil

BEAT = 15.0
"""Seconds between two heartbeats."""
_PROCESS = ".dagster/crm_assets_process"
"""Dagster's UI hides tags that begin so."""
_PROCESS_BEFORE = "crm_assets/process"
"""The name of earlier versions, for runs that began before an upgrade."""
_IN_ONE_PROCESS = (dg.in_process_executor.name, "execute_in_process_executor")
"""The executors whose process is that of the whole run."""
_PROMPTLY = 5.0
"""Seconds for which the end of a step waits for a heartbeat that is being written."""


class RunProcess(NamedTuple):
    """The process that executes a run."""

    machine: str
    pid: int
    created: float
    """Seconds since 1970, by the clock of that machine."""
    beat: str
    """Another one with each heartbeat; empty while no step works."""


def process_tags(run_id: str, beat: str = "") -> dict[str, str]:
    """Return the tags of the run `run_id`, which this process executes.

    They name the run, because Dagster copies tags to the run that tries it again.
    """
    created = f"{psutil.Process().create_time():.2f}"
    return {_PROCESS: "/".join([machine(), str(os.getpid()), created, run_id, beat])}


def process_of(run: dg.DagsterRun) -> RunProcess | None:
    """Return the process that executes `run`; None if the run does not say it."""
    match (run.tags.get(_PROCESS) or run.tags.get(_PROCESS_BEFORE, "")).split("/"):
        case [machine, pid, created, run.run_id, *beat]:  # earlier versions had no heartbeat
            return RunProcess(machine, int(pid), float(created), "".join(beat))
    return None


@cache
def machine() -> str:
    """Return what tells this machine from others, of one host name too, and one container from another."""
    found = [boot()]
    with suppress(OSError):  # it is Linux's
        found.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return ":".join(found)


@cache
def boot() -> str:
    """Return what tells this machine from others, and from itself before it was started again."""
    found = [gethostname()]
    with suppress(OSError):  # it is Linux's
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    return ":".join(found)


@contextmanager
def heartbeat(context: dg.OpExecutionContext | dg.AssetExecutionContext, seconds: float = BEAT) -> Iterator[None]:
    """Tag the run of `context` with this process and a heartbeat, and renew it while the block lasts.

    A run of which this process executes just a step gets none: it goes on when this process dies.
    A heartbeat that cannot be written is left out; the run neither fails nor waits for it.

    Args:
        context: of the step.
        seconds: between two heartbeats.
    """
    if context.job_def.executor_def.name not in _IN_ONE_PROCESS:
        yield
        return
    instance, run_id, done = context.instance, context.run.run_id, Event()
    _write(instance, run_id, uuid4().hex)
    thread = Thread(target=_beat, args=(instance, run_id, done, seconds), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_PROMPTLY)


def _beat(instance: dg.DagsterInstance, run_id: str, done: Event, seconds: float) -> None:
    while not done.wait(seconds):
        _write(instance, run_id, uuid4().hex)
    # Other steps of the run may work for long after this one, and nobody must take that for silence.
    _write(instance, run_id, "")


def _write(instance: dg.DagsterInstance, run_id: str, beat: str) -> None:
    with suppress(Exception):  # a database that is locked or away: each storage has errors of its own
        instance.add_run_tags(run_id, process_tags(run_id, beat))
