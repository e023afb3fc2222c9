"""The DuckDB file has one writer at a time: wait for it, hold it, or say who has it."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from threading import Event
from time import monotonic

import duckdb
import psutil
from pydantic import ByteSize, TypeAdapter

from crm_assets.errors import SettingError, WarehouseError, WarehouseLocked

_AGAIN = 0.5
_BLOCK_SIZE = 64 << 10
"""Bytes. A load that changes little rewrites few blocks; with DuckDB's 256 KB, small tables are mostly air."""
_THREAD_MEMORY = 125_000_000
"""Bytes that DuckDB's guide to its performance wants for each thread at least; with less, a load can fail."""
_UPDATED_ROW = 60
"""Bytes for each row that an update of a text keeps in memory, and not on disk, until it is committed."""
_ONE_BLOCK_SIZE = "v1.0."
"""The version that reads files of DuckDB's own block size alone."""
_HEADERS, _MAGIC = 12_288, b"DUCK"
"""Bytes at the head of a file, before any data; and what stands in the first of them."""
_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")


@contextmanager
def held(
    path: Path, *, memory_limit: str, lock_timeout: float, log: Callable[[str], None], storage_version: str = "latest"
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Keep the DuckDB file `path` open for writing, so that no other process can take it in between.

    Every connection that dlt opens meanwhile in this process shares the instance and its limits.

    Args:
        path: the file; it and its folder are made if they do not exist.
        memory_limit: what DuckDB may use, e.g. `300MB`; each 125 MB of it allow one thread.
        lock_timeout: seconds to wait for another process to close the file.
        log: told once when the waiting begins.
        storage_version: the oldest DuckDB that can open the file, if it is made now: `v1.0.0`, or `latest`.

    Raises:
        WarehouseLocked: it is still open elsewhere after `lock_timeout`; the message names the process.
        WarehouseError: the file cannot be opened at all.
        SettingError: `memory_limit` or `storage_version` is not one that DuckDB takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_unborn(path):
        _create(path, storage_version)
    connection = _opened(path, lock_timeout, log)
    try:
        _limit_memory(connection, memory_limit)
        yield connection
    finally:
        connection.close()


def make_room_for_update(connection: duckdb.DuckDBPyConnection, rows: int) -> None:
    """Raise the memory limit by what an update of a text needs for so many rows, if that is over a quarter of it.

    That much is never put on disk.
    """
    found = connection.sql("SELECT current_setting('memory_limit')").fetchall()[0][0]
    limit, needed = TypeAdapter(ByteSize).validate_python(found), rows * _UPDATED_ROW
    if needed > limit // 4:
        connection.execute("SET GLOBAL memory_limit = ?", [f"{limit + needed}B"])


def _is_unborn(path: Path) -> bool:
    """Return whether there is no file yet, or one that a killed process had only begun to make, without any data.

    An earlier version made the file in its place.
    """
    try:
        begun = path.read_bytes() if path.stat().st_size < _HEADERS else None
    except FileNotFoundError:
        return True
    if begun is None or path.with_name(f"{path.name}.wal").exists():
        return False
    return not begun.strip(b"\0") or begun[8:12] == _MAGIC


def _create(path: Path, storage_version: str) -> None:
    """Make the file aside: a process that is killed meanwhile leaves none that nobody can open."""
    for left in path.parent.glob(f"{escape(path.name)}.*.new"):
        maker = left.suffixes[-2][1:]
        if maker.isdecimal() and not psutil.pid_exists(int(maker)):
            left.unlink(missing_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    # A connection to a file cannot say which version the file gets; every later one keeps it.
    with duckdb.connect() as nowhere:
        try:
            quoted = str(new).replace("'", "''")
            blocks = "" if storage_version.startswith(_ONE_BLOCK_SIZE) else f", BLOCK_SIZE {_BLOCK_SIZE}"
            nowhere.execute(f"ATTACH '{quoted}' AS file (STORAGE_VERSION '{storage_version}'{blocks})")
            nowhere.execute("DETACH file")
            _put(new, path)
        except duckdb.InvalidInputException as error:
            setting = "warehouse.storage_version (WAREHOUSE__STORAGE_VERSION)"
            raise SettingError(f"{setting} is {storage_version!r}: {error}") from None
        except duckdb.IOException:
            return  # the file cannot be made: whoever opens it says so
        finally:
            new.unlink(missing_ok=True)


def _put(new: Path, path: Path) -> None:
    """Give the file `new` the name `path`, unless another process was faster."""
    if path.exists():
        begun = path.with_name(f"{new.name}.begun")
        path.rename(begun)
        if not _is_unborn(begun):
            begun.rename(path)
            return
        begun.unlink()
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        new.rename(path)


def _opened(path: Path, lock_timeout: float, log: Callable[[str], None]) -> duckdb.DuckDBPyConnection:
    started = monotonic()
    waiting = False
    while True:
        try:
            return duckdb.connect(str(path))
        except duckdb.IOException as error:
            holder = _holder(error)
            if holder is None:
                raise WarehouseError(f"The DuckDB file {path} cannot be opened: {error}") from error
            if monotonic() - started >= lock_timeout:
                raise WarehouseLocked(
                    f"The DuckDB file {path} was kept open by {holder} for {lock_timeout:.0f} s "
                    "(warehouse.lock_timeout). "
                    "Nothing was loaded. Close it there, or wait for that run to end, and run again.",
                    holder,
                ) from None
            if not waiting:
                log(f"Waiting up to {lock_timeout:.0f} s for the DuckDB file {path}: {holder} has it open.")
                waiting = True
            # DuckDB tells nobody that a file was closed, so there is no event to wait for.
            Event().wait(_AGAIN)


def _holder(error: duckdb.IOException) -> str | None:
    if "Could not set lock" not in str(error):
        return None
    match = _HOLDER.search(str(error))
    return f"process {match['pid']} ({match['program']})" if match else "another process"


def _limit_memory(connection: duckdb.DuckDBPyConnection, memory_limit: str) -> None:
    try:
        connection.execute("SET GLOBAL memory_limit = ?", [memory_limit])
    except duckdb.Error as error:
        raise SettingError(f"warehouse.memory_limit (WAREHOUSE__MEMORY_LIMIT) is {memory_limit!r}: {error}") from None
    allowed = TypeAdapter(ByteSize).validate_python(memory_limit) // _THREAD_MEMORY
    connection.execute("SET GLOBAL threads = ?", [max(1, min(os.cpu_count() or 1, allowed))])
