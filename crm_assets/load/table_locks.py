"""One run at a time loads a table: whoever starts it, the second waits until it is free or is told who has it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

from filelock import FileLock, Timeout

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import TableLocked, WarehouseLocked
from crm_assets.load.warehouses.destination import open_destination, shared_locks

_POLL = 0.5
"""Seconds between two attempts to take a lock."""


@contextmanager
def table_locks(
    account: Account, resources: Sequence[Resource], log: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Keep every other run from loading `resources` of `account` while the block lasts.

    On this machine, a lock is one of the operating system on a file, so that it ends with the process that has it,
    however that ends. Other machines are kept from it by the warehouse, if it has locks.

    Args:
        account: whose tables they are; its `warehouse.lock_timeout` is how long to wait in all.
        resources: which of them.
        log: told once for each table that must be waited for.

    Yields:
        A function that raises WarehouseError if the locks of the warehouse were lost.

    Raises:
        TableLocked: another run kept one for longer than that; the message names table and process.
        WarehouseError: the warehouse does not answer.
        SettingError: the destination cannot be used.
    """
    folder = _folder(account)
    timeout = account.warehouse.lock_timeout
    deadline = monotonic() + timeout
    with ExitStack() as held:
        # Two runs that want the same tables must want them in the same order.
        for table in sorted(account.table_id(resource.name) for resource in resources):
            held.enter_context(_locked(folder / table, table, deadline, timeout, log))
        destination = open_destination(account.warehouse.destination, account.data_dir)
        names, left = sorted(resource.name for resource in resources), max(0.0, deadline - monotonic())
        yield held.enter_context(shared_locks(destination, account.dataset, names, left, log))


@contextmanager
def lake_lock(account: Account, address: str, *, lock_timeout: float, log: Callable[[str], None]) -> Iterator[None]:
    """Keep every other run on this machine from loading into the lake of `account` while the block lasts.

    Args:
        account: whose lake it is.
        address: where its tables are.
        lock_timeout: seconds to wait.
        log: told once when the waiting begins.

    Raises:
        WarehouseLocked: another run kept it for longer than that; the message names the process.
    """
    path = _folder(account) / f"{account.dataset}.lake"
    with ExitStack() as held:
        try:
            held.enter_context(_locked(path, address, monotonic() + lock_timeout, lock_timeout, log))
        except TableLocked as error:
            raise WarehouseLocked(str(error), _name(_owner(path))) from None
        yield


def _folder(account: Account) -> Path:
    folder = account.data_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _owner(path: Path) -> Path:
    return path.with_name(f"{path.name}.pid")


@contextmanager
def _locked(path: Path, table: str, deadline: float, timeout: float, log: Callable[[str], None]) -> Iterator[None]:
    lock, owner = FileLock(path, poll_interval=_POLL), _owner(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log(f"Waiting up to {timeout:.0f} s for {table}: it is being loaded by {_name(owner)}.")
        try:
            lock.acquire(timeout=max(0.0, deadline - monotonic()))
        except Timeout:
            raise TableLocked(
                f"{table} was being loaded by {_name(owner)} for {timeout:.0f} s (warehouse.lock_timeout). "
                "Nothing was loaded. Wait for that run to end, or end it, and run again."
            ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        lock.release()


def _name(owner: Path) -> str:
    with suppress(OSError):
        return f"process {owner.read_text(encoding='utf-8')}"
    return "another process"
