"""Dagster's event log on SQLite, with connections that stay open.

Dagster opens one for each statement, and an SQLAlchemy engine with it; to close the last connection of a file is to
fold its write-ahead log into it. A sync of eleven tables, with their checks, opens a thousand: half of its time.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

_TIMEOUT = 60.0
"""Seconds to wait for another process that writes; Dagster's own."""


@contextmanager
def open_connections(history: dg.DagsterInstance) -> Iterator[None]:
    """Let the event log of `history` keep its connections while the block lasts, if it is on SQLite."""
    log = history.event_log_storage
    # Not public: another version of Dagster may do without it, and then takes longer.
    opened_by_dagster = getattr(log, "_connect", None)
    if not isinstance(log, SqliteEventLogStorage) or opened_by_dagster is None:
        yield
        return
    one_at_a_time = Lock()
    engines: dict[str, Engine] = {}

    @contextmanager
    def connect(shard: str) -> Iterator[Connection]:
        with one_at_a_time:
            if shard not in engines:
                with opened_by_dagster(shard):  # makes the file if there is none
                    engines[shard] = create_engine(
                        log.conn_string_for_shard(shard),
                        poolclass=QueuePool,
                        connect_args={"timeout": _TIMEOUT, "check_same_thread": False},
                    )
                    until_closed.callback(engines[shard].dispose)
            with engines[shard].begin() as connection:
                yield connection

    with ExitStack() as until_closed:
        until_closed.callback(setattr, log, "_connect", opened_by_dagster)
        setattr(log, "_connect", connect)  # noqa: B010 - a method of an instance
        yield
