"""Where one run keeps its files while it works, so that nothing of it stays when it dies."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crm_assets.account import Account

_SUFFIX = ".lock"


@contextmanager
def working_directory(account: Account, run_id: str) -> Iterator[Path]:
    """Make a directory for one run, and remove it when the run ends.

    Directories whose run died without removing them are removed first: a run holds a lock on its
    own, and the operating system takes the lock away from the dead.
    """
    runs = account.data_dir / "runs"
    name = f"{account.name}.{run_id}"
    runs.mkdir(parents=True, exist_ok=True)
    own_lock = FileLock(runs / f"{name}{_SUFFIX}")
    with FileLock(account.data_dir / f"runs{_SUFFIX}"):  # or another run could take ours for an orphan
        own_lock.acquire()
        _remove_orphans(runs, keep=name)
    path = runs / name
    try:
        path.mkdir(exist_ok=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        own_lock.release()
        Path(own_lock.lock_file).unlink(missing_ok=True)


def _remove_orphans(runs: Path, keep: str) -> None:
    for file in runs.glob(f"*{_SUFFIX}"):
        name = file.name.removesuffix(_SUFFIX)
        if name == keep:
            continue
        try:
            with FileLock(file, timeout=0):
                shutil.rmtree(runs / name, ignore_errors=True)
                file.unlink(missing_ok=True)
        except Timeout:  # its run is working
            continue
