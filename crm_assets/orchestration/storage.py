"""Dagster's history in SQLite files, with connections to the event log that stay open.

Dagster's own storage opens a connection for each statement, and an SQLAlchemy engine with it; to close the last
connection of a file is to fold its write-ahead log into it. A sync of eleven tables, with their checks, opens a
thousand. `.dagster/dagster.yaml` names this storage; the files are the same, and either reads what the other wrote.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

_TIMEOUT = 60.0
"""Seconds to wait for another process that writes; Dagster's own."""
_OPEN = 16
"""Files that stay open: the index, and the latest runs."""


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite files, with an event log that keeps its connections.

    Args:
        base_dir: the folder of the files, as a rule `DAGSTER_HOME`, where Dagster keeps them by itself.
        inst_data: what dagster.yaml says, for other processes.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLog(str(Path(base_dir, "history", "runs")))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "SqliteStorage":
        """Return the storage that dagster.yaml describes."""
        return cls.from_local(inst_data=inst_data, **config_value)


class EventLog(SqliteEventLogStorage):
    """The event log in SQLite files: one for each run, and an index of what concerns assets."""

    def __init__(self, base_dir: str) -> None:
        super().__init__(base_dir)
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        self._one_at_a_time = Lock()

    @contextmanager
    def run_connection(self, run_id: str | None = None) -> Iterator[Connection]:
        """Open a transaction in the file of a run."""
        with self._one_at_a_time, self._engine(str(run_id)).begin() as connection:
            yield connection

    @contextmanager
    def index_connection(self) -> Iterator[Connection]:
        """Open a transaction in the index."""
        with self._one_at_a_time, self._engine(INDEX_SHARD_NAME).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            with super().run_connection(shard):  # makes the file if there is none
                engine = create_engine(
                    self.conn_string_for_shard(shard),
                    poolclass=StaticPool,
                    connect_args={"timeout": _TIMEOUT, "check_same_thread": False},
                )
            with engine.connect() as connection:
                # With a write-ahead log, a crash of the machine can lose the last events, and nothing can harm a file.
                connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            self._engines[shard] = engine
            if len(self._engines) > _OPEN:
                _, oldest = self._engines.popitem(last=False)
                oldest.dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; what is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, and let those know who watch the run's file: while it is open, another one is written."""
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def wipe(self) -> None:
        """Delete everything."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all files."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._one_at_a_time:
            while self._engines:
                self._engines.popitem()[1].dispose()
