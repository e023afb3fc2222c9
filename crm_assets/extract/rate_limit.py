"""How many requests an account sends in a second, over all its threads, and when they all wait."""

from collections import deque
from threading import Event, Lock
from time import monotonic

BURST_FAILURES = 5
BURST_SECONDS = 10.0
"""Server errors and lost connections that are a burst: so many within so many seconds, and fewer successes between."""


class RateLimit:
    """Spaces the requests of all threads evenly, and lets all of them wait when the CRM asks for it or breaks down.

    Attributes:
        per_second: requests per second at the most; None for no limit.
    """

    def __init__(self, per_second: float | None = None) -> None:
        self.per_second = per_second
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._paused_until = 0.0
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=2 * BURST_FAILURES - 1)
        self._lock = Lock()

    def wait(self, cancelled: Event) -> None:
        """Return when one more request may be sent, or as soon as `cancelled` is set."""
        while (seconds := self._reserve()) > 0 and not cancelled.wait(seconds):
            pass

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds: the CRM has said that there are too many requests, or fails under them."""
        with self._lock:
            self._paused_until = max(self._paused_until, monotonic() + seconds)

    def count(self, *, failed: bool) -> None:
        """Count what became of a request: a server error or a lost connection has `failed`, any other response not."""
        with self._lock:
            self._outcomes.append((monotonic(), failed))

    @property
    def is_burst(self) -> bool:
        """Whether the CRM fails as such, not for one resource: five of the last nine requests, within 10 seconds."""
        with self._lock:
            since = monotonic() - BURST_SECONDS
            return sum(failed and at > since for at, failed in self._outcomes) >= BURST_FAILURES

    def _reserve(self) -> float:
        """Return 0 if a request may be sent now, else how many seconds to wait before asking again.

        A moment that is still to come is not taken: by then there may be a pause.
        """
        with self._lock:
            now = monotonic()
            earliest = max(self._next, self._paused_until)
            if earliest > now:
                return earliest - now
            self._next = now + self._interval
            return 0.0
