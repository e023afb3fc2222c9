"""A sandbox that runs until somebody ends it."""

import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any, Final

from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import parse_count
from crm_assets.sandbox.server import Sandbox

ANNOUNCEMENT: Final = "sandbox CRM at "
"""Begins the line that says where it listens."""
_CHUNK: Final = 4096


def serve(
    *,
    counts: Iterable[str] = (),
    faults: Iterable[str] = (),
    with_parent: bool = False,
    announce: Callable[[str], None] = lambda line: print(line, flush=True),  # noqa: T201 - a program waits for it
    **options: Any,
) -> None:
    """Run a sandbox until SIGINT or SIGTERM.

    Args:
        counts: how many records, each in the words of `listings.parse_count`.
        faults: what goes wrong from the start, each in the words of `Fault.parse`.
        with_parent: end also when stdin ends, so that the process never outlives the one that started it.
        announce: takes the one line that says where it listens, when it does.
        options: the others of `Sandbox`.

    Raises:
        ValueError: an option that cannot be; names it.
        OSError: the port is taken; names it.
    """
    wrong = [Fault.parse(text) for text in faults]
    with Sandbox(dict(map(parse_count, counts)), **options) as sandbox, _signals() as woken:
        for fault in wrong:
            sandbox.fault(fault)
        announce(f"{ANNOUNCEMENT}{sandbox.base_url}")
        _wait(woken, with_parent)


def _wait(woken: int, with_parent: bool) -> None:
    stdin = 0
    while True:
        ready, _, _ = select.select([woken, stdin] if with_parent else [woken], [], [])
        if woken in ready or not os.read(stdin, _CHUNK):
            return


@contextmanager
def _signals() -> Iterator[int]:
    """Give a file descriptor that becomes readable on SIGINT and SIGTERM. Only the main thread hears them."""
    reading, writing = os.pipe()
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = [(number, signal.signal(number, lambda *_: os.write(writing, b"."))) for number in numbers]
    try:
        yield reading
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
