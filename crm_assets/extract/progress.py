"""How far the listings are, for whoever watches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How far one listing is."""

    resource: str
    records: int
    pages: int
    seconds: float
    finished: bool

    @property
    def rate(self) -> float:
        """Records per second so far."""
        return self.records / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return f"{self.resource}: {self.records:,} records, {self.pages:,} pages, {self.rate:,.0f} records/s"


@dataclass(frozen=True)
class Watcher:
    """Who is told how far the listings are, and every how many seconds; and what else happens, in a sentence."""

    tell: Callable[[Sequence[Reading]], None]
    say: Callable[[str], None]
    every: float = 5.0


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Let `watcher`, instead of a run's log, follow every run of this context."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher_or_log(log: Callable[[str], None]) -> Watcher:
    """Return the watcher of this context; without one, a watcher that writes to `log`."""
    return _watcher.get() or log_watcher(log)


def log_watcher(log: Callable[[str], None]) -> Watcher:
    """Return a watcher that writes each listing that is not finished yet to `log`, one line each."""

    def tell(readings: Sequence[Reading]) -> None:
        for reading in readings:
            if not reading.finished:
                log(str(reading))

    return Watcher(tell, log)
