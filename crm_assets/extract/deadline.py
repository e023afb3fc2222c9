"""A limit on the time that one exchange takes, wherever it hangs: time-outs of sockets begin anew with every byte."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from math import inf
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from crm_assets.extract.no_content import ReadingResponse


class DeadlineExceeded(Exception):
    """The exchange was not over in time; its connection is shut."""


class Deadline:
    """Knows the socket over which one thread's requests go, and shuts it when time is up."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._early: socket.socket | None = None

    def guard(self, pools: PoolManager) -> None:
        """Apply the deadline to every connection that `pools` opens."""
        deadline = self

        class Watched(HTTPConnection):
            response_class = ReadingResponse

            def _new_conn(self) -> socket.socket:
                new = super()._new_conn()
                deadline._watch_early(new)
                return new

            def request(self, *arguments: Any, **options: Any) -> None:
                super().request(*arguments, **options)
                deadline._watch(self.sock)

        class WatchedSafely(Watched, HTTPSConnection):
            pass

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Watched

        class SafePool(HTTPSConnectionPool):
            ConnectionCls = WatchedSafely

        pools.pool_classes_by_scheme = {"http": PlainPool, "https": SafePool}

    def _watch_early(self, new: socket.socket) -> None:
        """Watch a connection from its first byte: a proxy and a TLS handshake come before the request.

        TLS takes the socket away; what is shut by way of a duplicate is shut.
        """
        self._watch(None)
        self._socket = self._early = new.dup()

    def _watch(self, found: socket.socket | None) -> None:
        if self._early is not None:
            self._early.close()
        self._socket, self._early = found, None

    def limit(self, seconds: float) -> AbstractContextManager[None]:
        """Let the block take `seconds` at most.

        Raises:
            DeadlineExceeded: it took longer.
        """
        self._watch(None)
        return limit(seconds, lambda: self._socket)


@contextmanager
def limit(seconds: float, connected: Callable[[], socket.socket | None]) -> Iterator[None]:
    """Let the block take `seconds` at most, then shut the socket that `connected` returns.

    Raises:
        DeadlineExceeded: it took longer.
    """
    is_up = Event()

    def shut() -> None:
        is_up.set()
        if (open_socket := connected()) is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    _WATCHDOG.add(shut, monotonic() + seconds)
    try:
        yield
    except Exception:
        if is_up.is_set():
            raise DeadlineExceeded from None
        raise
    finally:
        _WATCHDOG.remove(shut)
    if is_up.is_set():  # without a length, a body that is shut off looks whole
        raise DeadlineExceeded


class _Watchdog:
    """Calls functions when their time has come. One thread for all: to start one costs as much as a request."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._times: dict[Callable[[], None], float] = {}
        self._wakes = inf
        self._thread: Thread | None = None

    def add(self, act: Callable[[], None], when: float) -> None:
        with self._changed:
            self._times[act] = when
            if self._thread is None or not self._thread.is_alive():  # none lives on in a forked process
                self._thread = Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif when < self._wakes:
                self._changed.notify()

    def remove(self, act: Callable[[], None]) -> None:
        with self._changed:
            self._times.pop(act, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = monotonic()
                due = [act for act, when in self._times.items() if when <= now]
                for act in due:
                    del self._times[act]
                if not due:
                    self._wakes = min(self._times.values(), default=inf)
                    self._changed.wait(None if self._wakes == inf else self._wakes - now)
            for act in due:
                act()


_WATCHDOG = _Watchdog()
