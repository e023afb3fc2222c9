"""Postgres: files are copied by ADBC, and all tables of a load change in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from adbc_driver_manager import dbapi
from adbc_driver_manager.dbapi import Connection
from dlt.common.destination.client import FollowupJobRequest, LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.destinations.impl.postgres.configuration import PostgresClientConfiguration
from dlt.destinations.impl.postgres.factory import get_adbc_driver_location, postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresParquetCopyJob
from dlt.destinations.sql_client import SqlClientBase
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from psycopg2.extras import register_default_json

_BATCH = 8_192
"""Rows that are in memory at once."""
_NUL, _REPLACEMENT = "\x00", "\ufffd"

_WORK_MEM, _ROW_MEM = 65_536, 256
"""Memory for a statement that merges: kilobytes at the least, and bytes for each row of the longest listing."""


@dataclass
class Deferred:
    """What dlt would do table by table, each step with the connection that it is to be done with."""

    steps: list[Callable[[SqlClientBase[Any]], None]] = field(default_factory=list)
    rows: int = 0
    """Rows of the longest file that waits to be merged."""


class DeferringPostgres(postgres):
    """dlt's destination, whose merges, and whose note that a load is complete, wait for `run_deferred`.

    dlt merges each table in a transaction of its own.
    """

    @cached_property
    def _deferred(self) -> Deferred:
        return Deferred()

    @property
    def destination_type(self) -> str:
        """The type that dlt knows, which it notes in its state."""
        return "dlt.destinations.postgres"

    @property
    def client_class(self) -> type[PostgresClient]:
        """The job client that defers."""
        return _Client

    def client(self, schema: Schema, initial_config: PostgresClientConfiguration | None = None) -> PostgresClient:
        """Return a job client that defers to this destination."""
        client = super().client(schema, initial_config)  # type: ignore[arg-type]
        assert isinstance(client, _Client)  # noqa: S101 - `client_class` says so
        client.deferred = self._deferred
        return client

    def run_deferred(self, client: SqlClientBase[Any]) -> None:
        """Do what was deferred, in order, in the transaction of `client`."""
        if not self._deferred.steps:
            return
        # A NOT IN of dlt's whose other side does not fit is answered row by row.
        client.execute_sql("SET LOCAL work_mem = %s", max(_WORK_MEM, _ROW_MEM * self._deferred.rows // 1_024))
        while self._deferred.steps:
            self._deferred.steps.pop(0)(client)

    def forget_deferred(self) -> None:
        """Leave out what was deferred."""
        self._deferred.steps.clear()
        self._deferred.rows = 0


class _Client(PostgresClient):
    deferred: Deferred

    def __enter__(self) -> Self:
        super().__enter__()
        # JSON as text, as DuckDB gives it: psycopg2 would parse it, and nobody here wants a dict.
        register_default_json(self.sql_client.native_connection, loads=str)
        return self

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        if file_path.endswith(".parquet"):
            return _CopyJob(file_path)
        return super().create_load_job(table, file_path, load_id, restore)

    def _create_merge_followup_jobs(self, table_chain: Sequence[PreparedTableSchema]) -> list[FollowupJobRequest]:
        statements = SqlMergeFollowupJob.generate_sql(table_chain, self.sql_client)

        def merge(client: SqlClientBase[Any]) -> None:
            client.execute_many(statements)

        self.deferred.steps.append(merge)
        return []

    def complete_load(self, load_id: str) -> None:
        def complete(client: SqlClientBase[Any]) -> None:
            self.sql_client = client  # type: ignore[assignment]
            PostgresClient.complete_load(self, load_id)

        self.deferred.steps.append(complete)


class _CopyJob(PostgresParquetCopyJob):
    """Copies one file, in batches: dlt's job refuses a file without rows, and a text with the character NUL."""

    _job_client: _Client

    def _connect(self) -> Connection:
        # dlt leaves spaces as they are, which psycopg2 takes and ADBC refuses.
        credentials: Any = self._job_client.config.credentials
        address = credentials.to_native_representation().replace(" ", "%20")
        return dbapi.connect(driver=get_adbc_driver_location(), db_kwargs={"uri": address})

    def run(self) -> None:
        with pq.ParquetFile(self._file_path) as file, self._connect() as connection, connection.cursor() as cursor:
            if not file.metadata.num_rows:
                return
            deferred: Deferred = self._job_client.deferred
            deferred.rows = max(deferred.rows, file.metadata.num_rows)
            catalog, dataset = self._set_catalog_and_schema()
            batches = pa.RecordBatchReader.from_batches(file.schema_arrow, map(_storable, file.iter_batches(_BATCH)))
            cursor.adbc_ingest(
                self.load_table_name, batches, mode="append", catalog_name=catalog, db_schema_name=dataset
            )
            connection.commit()


def _storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return `batch` without the one character that no text of Postgres can hold."""
    for place, column in enumerate(batch.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text = pc.replace_substring(batch.column(place), _NUL, _REPLACEMENT)
            batch = batch.set_column(place, column, text)
    return batch
