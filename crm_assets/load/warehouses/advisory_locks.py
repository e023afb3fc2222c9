"""Locks in a Postgres database: runs exclude each other, on whatever machine they are."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from socket import gethostname
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class

from crm_assets.errors import TableLocked, WarehouseError, WarehouseLocked

_KEY = "hashtextextended(%s, 0)"
_HOLDER = f"""
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = {_KEY}
"""
_UNTIL_SILENT = {"keepalives_idle": 60, "keepalives_interval": 20, "keepalives_count": 3}
"""Seconds, and how often: a machine that vanished keeps its locks for no longer than the server asks for it."""


@contextmanager
def table_locks(
    dsn: str, dataset: str, tables: Sequence[str], timeout: float, log: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Keep other runs from loading `tables` of `dataset` while the block lasts, by a connection of its own.

    Args:
        dsn: address of the database, with login.
        dataset: the schema of the tables.
        tables: their names, in the order in which every run wants them.
        timeout: seconds to wait for all of them together.
        log: told once for each table that must be waited for.

    Yields:
        A function that raises WarehouseError if the locks were lost, because the connection was.

    Raises:
        TableLocked: another run kept one for longer than that.
        WarehouseError: the database cannot be connected to.
    """
    deadline = monotonic() + timeout
    try:
        connection = psycopg2.connect(dsn, **_UNTIL_SILENT)
    except psycopg2.OperationalError as error:
        raise WarehouseError(f"Postgres cannot be connected to: {' '.join(str(error).split())}") from None
    with closing(connection):
        connection.autocommit = True
        _introduce(connection)
        for table in tables:
            name = f"{dataset}.{table}"
            if holder := _acquire(connection, f"crm_assets table {name}", name, deadline, log):
                raise TableLocked(
                    f"{name} was being loaded by {holder} for {timeout:.0f} s (warehouse.lock_timeout). "
                    "Nothing was loaded. Wait for that run to end, or end it, and run again."
                )

        def require_locks() -> None:
            try:
                _query(connection, "SELECT 1")
            except psycopg2.Error as error:
                raise WarehouseLocked(
                    f"The locks on the tables of {dataset} were lost, because the connection to Postgres was: "
                    f"{' '.join(str(error).split())}. Another run may have loaded the tables meanwhile, so nothing was "
                    "loaded. Run again.",
                    "another run",
                ) from None

        yield require_locks


def lock_dataset(connection: Connection, dataset: str, timeout: float, log: Callable[[str], None]) -> None:
    """Let no other run load into `dataset` for as long as `connection` is open.

    dlt keeps one schema and one state for all tables of a dataset.

    Raises:
        WarehouseLocked: another run is loading into it for longer than `timeout` seconds.
    """
    _introduce(connection)
    if holder := _acquire(connection, f"crm_assets dataset {dataset}", dataset, monotonic() + timeout, log):
        raise WarehouseLocked(
            f"The dataset {dataset} was being loaded by {holder} for {timeout:.0f} s (warehouse.lock_timeout). "
            "Nothing was loaded. Wait for that run to end, or end it, and run again.",
            holder,
        )


def _introduce(connection: Connection) -> None:
    """Let others see who we are: Postgres keeps 63 characters."""
    _query(connection, "SET application_name = %s", f"process {os.getpid()} on {gethostname()}")


def _acquire(connection: Connection, lock: str, name: str, deadline: float, log: Callable[[str], None]) -> str | None:
    """Take `lock`, which is on `name`; return who has it if it is not free by `deadline`."""
    if _query(connection, f"SELECT pg_try_advisory_lock({_KEY})", lock)[0][0]:
        return None
    found = _query(connection, _HOLDER, lock)
    holder = found[0][0] if found and found[0][0] else "another run"
    seconds = deadline - monotonic()
    if seconds <= 0:
        return holder
    log(f"Waiting up to {seconds:.0f} s for {name}: it is being loaded by {holder}.")
    _query(connection, "SET lock_timeout = %s", max(1, int(seconds * 1_000)))
    try:
        _query(connection, f"SELECT pg_advisory_lock({_KEY})", lock)
    except LockNotAvailable:
        return holder
    finally:
        _query(connection, "RESET lock_timeout")
    return None


def _query(connection: Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []
