"""Where one run keeps its files while it works, so that nothing of it stays when it dies."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def working_directory(runs: Path, name: str) -> Iterator[Path]:
    """Make the directory `runs/name` for one run, and remove it when the run ends.

    Directories whose run died without removing them are removed first: a run holds a lock on its
    own, and the operating system takes the lock away from the dead.
    """
    path = runs / name
    runs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _locked(runs):  # or another run could take ours for an orphan
            path.mkdir(exist_ok=True)
            fcntl.flock(stack.enter_context((path / _LOCK).open("w")), fcntl.LOCK_EX)
            _remove_orphans(runs, keep=path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_orphans(runs: Path, keep: Path) -> None:
    for path in runs.iterdir():
        lock = path / _LOCK
        if path == keep or not lock.exists():
            continue
        try:
            with lock.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):  # it works, or has just removed its own
            continue
