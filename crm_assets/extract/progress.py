"""How far the listings are, for whoever watches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from crm_assets.text import counted


@dataclass(frozen=True)
class Reading:
    """How far one listing is."""

    resource: str
    records: int
    resumed: int
    """How many of the records an earlier attempt had read."""
    pages: int
    seconds: float
    finished: bool
    parents_done: int = 0
    """For how many parents they were read, of a resource that has one."""
    parents_total: int | None = None
    """For how many there are to read; None while that is not known, or if it has no parent."""

    @property
    def seconds_left(self) -> float | None:
        """How long it still takes at this pace; None if that cannot be said."""
        if self.parents_total is None or not self.parents_done:
            return None
        return self.seconds / self.parents_done * (self.parents_total - self.parents_done)

    @property
    def rate(self) -> float:
        """Records per second, of those that this attempt has read."""
        return (self.records - self.resumed) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        read = f"{counted(self.records, 'record')}, {counted(self.pages, 'page')}"
        if self.parents_total is not None:
            left = f", {self.seconds_left:,.0f} s left" if self.seconds_left is not None else ""
            read += f", {self.parents_done:,} of {counted(self.parents_total, 'parent')}{left}"
        return f"{self.resource}: {read}, {self.rate:,.0f} records/s"


@dataclass(frozen=True)
class ProgressListener:
    """Who is told how far the listings are, and every how many seconds; and what else happens, in a sentence."""

    tell: Callable[[Sequence[Reading]], None]
    say: Callable[[str], None]
    every: float = 5.0


_SOON = 1.0
"""Seconds in which no listing needs a line of progress."""
_watcher: ContextVar[ProgressListener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: ProgressListener) -> Iterator[None]:
    """Let `listener`, instead of a run's log, follow every run of this context."""
    token = _watcher.set(listener)
    try:
        yield
    finally:
        _watcher.reset(token)


def listener_or_log(log: Callable[[str], None]) -> ProgressListener:
    """Return the listener of this context; without one, a listener that writes to `log`."""
    return _watcher.get() or log_listener(log)


def log_listener(log: Callable[[str], None]) -> ProgressListener:
    """Return a listener that writes each listing that is not finished yet to `log`, one line each."""

    def tell(readings: Sequence[Reading]) -> None:
        for reading in readings:
            if reading.seconds >= _SOON and not reading.finished:
                log(str(reading))

    return ProgressListener(tell, log)
