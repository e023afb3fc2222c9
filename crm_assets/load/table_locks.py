"""One run at a time loads a table: whoever starts it, the second waits for its turn or is told who has it."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from threading import Event
from time import monotonic

from crm_assets.errors import TableLocked

_AGAIN = 0.5


@contextmanager
def table_locks(
    directory: Path, tables: Sequence[str], *, timeout: float, log: Callable[[str], None]
) -> Iterator[None]:
    """Have the turn of each of `tables` while the block lasts.

    A turn is a lock on a file, so that it ends with the process that has it, however that ends.

    Args:
        directory: where the files are; one for each table, kept for good.
        tables: names of the tables.
        timeout: seconds to wait in all.
        log: told once for each table that must be waited for.

    Raises:
        TableLocked: another run kept one for longer than that; the message names table and process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = monotonic() + timeout
    with ExitStack() as held:
        for table in sorted(tables):  # two runs that want the same tables must want them in the same order
            file = held.enter_context((directory / table).open("a+", encoding="utf-8"))
            _take(file, table, deadline, timeout, log)
        yield


def _take(file: TextIOWrapper, table: str, deadline: float, timeout: float, log: Callable[[str], None]) -> None:
    waiting = False
    while not _locked(file):
        if monotonic() >= deadline:
            raise TableLocked(
                f"{table} was being loaded by {_holder(file)} for {timeout:.0f} s (warehouse.lock_timeout). "
                "Nothing was loaded. Wait for that run to end, or end it, and run again."
            )
        if not waiting:
            log(f"Waiting up to {timeout:.0f} s for {table}: it is being loaded by {_holder(file)}.")
            waiting = True
        # A lock that can be waited for with a time-out does not exist on every system.
        Event().wait(_AGAIN)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _locked(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: TextIOWrapper) -> str:
    file.seek(0)
    return f"process {file.read().strip() or 'unknown'}"
