"""The working copy of a lake: a DuckDB file with the tables that a run needs.

Delta tables know no SQL for what a load does. So a run copies them into a file of its own, loads and checks them there
as in any DuckDB, and publishes those that changed: each whole, in one commit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from dlt.common.schema.typing import LOADS_TABLE_NAME, PIPELINE_STATE_TABLE_NAME, VERSION_TABLE_NAME
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import WarehouseChanged, WarehouseError
from crm_assets.load.resource_loads import LOADS_TABLE
from crm_assets.load.warehouses.lake import Lake, delta_errors
from crm_assets.models.by_products import REJECTED_TABLE, history_table

if TYPE_CHECKING:
    from deltalake import DeltaTable

FILE_NAME = "working-copy.duckdb"
"""In the directory of the run. No dataset can be called like it, which DuckDB would find ambiguous."""

_RECORDS = (LOADS_TABLE, VERSION_TABLE_NAME, PIPELINE_STATE_TABLE_NAME, LOADS_TABLE_NAME)
"""What says that a load is complete, in the order in which it is published, when all else is."""
_TYPE = "crm_assets.type"
"""Metadata of a Delta column: its type, if Delta does not have it."""
_JSON = "JSON"
_BATCH = 2_048
"""Rows that go from DuckDB to a Delta table at once."""
_ROW_GROUP = 16_384
"""Rows that are together in a Parquet file, and so in memory while it is written or read."""
_INCOMING = "_incoming"

Client = SqlClientBase[Any]
Content = tuple[Any, ...]


@dataclass(frozen=True)
class WorkingCopy:
    """Tables of a lake, copied."""

    lake: Lake
    copied: "Mapping[str, DeltaTable | None]"
    """What was copied, each table as it was then; None where there was none."""
    contents: Mapping[str, Content]
    """What was in them."""

    def publish(self, client: Client, log: Callable[[str], None]) -> None:
        """Write the tables that changed to the lake, and last the record of the loads.

        A run that is killed meanwhile leaves each table old or new, and no record of the load: the next one loads it
        again. Files that only versions older than a table's retention need are removed.

        Args:
            client: the connection to the working copy.
            log: told what could not be removed.

        Raises:
            WarehouseChanged: somebody else has written to one of them since it was copied.
            WarehouseError: the lake cannot be written.
        """
        tables = _tables(client)
        changed = [name for name in tables if _content(client, name) != self.contents.get(name)]
        changed.sort(key=lambda name: _RECORDS.index(name) if name in _RECORDS else -1)
        for name in changed:
            self._require_unchanged(name, "Nothing was written")
        for name in changed:
            self._write(client, name)
        for name in changed:
            self._remove_old_files(name, log)

    def _require_unchanged(self, name: str, outcome: str) -> None:
        before, now = self.copied.get(name), self.lake.find(name)
        if now and (before is None or before.version() != now.version()):
            raise WarehouseChanged(
                f"Somebody else wrote to {self.lake.table_address(name)} while this run loaded. {outcome}. "
                "Run again; let one machine at a time load into a lake."
            )

    def _write(self, client: Client, name: str) -> None:
        from deltalake import CommitProperties, WriterProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        before, rows = self.copied.get(name), _rows(client, name)
        at_once = CommitProperties(max_commit_retries=0)  # Delta would try again, upon what somebody else wrote
        groups = WriterProperties(max_row_group_size=_ROW_GROUP)
        with delta_errors(
            f"{self.lake.table_address(name)} cannot be written. Tables that were not reached are as they were"
        ):
            try:
                if before is None:
                    write_deltalake(
                        self.lake.table_address(name),
                        rows,
                        mode="error",
                        configuration=self.lake.table_properties,
                        storage_options=dict(self.lake.storage_options),
                        commit_properties=at_once,
                        writer_properties=groups,
                    )
                else:
                    write_deltalake(
                        before,
                        rows,
                        mode="overwrite",
                        schema_mode="overwrite",
                        commit_properties=at_once,
                        writer_properties=groups,
                    )
            except DeltaError:
                self._require_unchanged(name, "Tables that were not reached are as they were")
                raise

    def _remove_old_files(self, name: str, log: Callable[[str], None]) -> None:
        table = self.lake.find(name)
        if table is None:
            return
        try:
            with delta_errors(f"Old files of {self.lake.table_address(name)} could not be removed"):
                table.vacuum(dry_run=False)
        except WarehouseError as error:
            log(str(error))


def copy_tables(lake: Lake, client: Client, tables: Sequence[str]) -> WorkingCopy:
    """Copy `tables` of `lake`, those that there are, into the DuckDB file of `client`.

    Raises:
        WarehouseError: one cannot be read.
    """
    copied = {name: lake.find(name) for name in tables}
    if any(copied.values()):
        client.execute_sql(f"CREATE SCHEMA IF NOT EXISTS {client.fully_qualified_dataset_name()}")
    for name, table in copied.items():
        if table:
            with delta_errors(f"The Delta table {lake.table_address(name)} cannot be read"):
                _insert(client, name, table)
    return WorkingCopy(lake, copied, {name: _content(client, name) for name in _tables(client)})


def tables_of(account: Account, resources: Sequence[Resource]) -> list[str]:
    """Return the tables that a load or the checks of `resources` read or write."""
    names = dict.fromkeys(resource.name for resource in resources)
    for resource in resources:
        referred = [column.reference for column in resource.columns if column.reference]
        names |= dict.fromkeys(name for name in (*referred, *resource.parents))
    histories = [history_table(resource.name) for resource in resources]
    return [*names, *histories, *([REJECTED_TABLE] if names else []), *_RECORDS]


def _insert(client: Client, name: str, table: "DeltaTable") -> None:
    connection, qualified = client.native_connection, client.make_qualified_table_name(name)
    fields = {field.name: field for field in table.schema().fields}
    connection.register(_INCOMING, table.scan())
    try:
        kinds = {column: kind for column, kind, *_ in connection.execute(f"DESCRIBE {_INCOMING}").fetchall()}
        columns = ", ".join(
            f"{client.escape_column_name(column)} {_JSON if fields[column].metadata.get(_TYPE) == _JSON else kind}"
            f"{'' if fields[column].nullable else ' NOT NULL'}"
            for column, kind in kinds.items()
        )
        client.execute_sql(f"CREATE TABLE {qualified} ({columns})")
        client.execute_sql(f"INSERT INTO {qualified} SELECT * FROM {_INCOMING}")
    finally:
        connection.unregister(_INCOMING)


def _tables(client: Client) -> list[str]:
    rows = client.execute_sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
        client.dataset_name,
    )
    return [str(name) for (name,) in rows or ()]


def _content(client: Client, name: str) -> Content:
    """Return what is the same for two tables of the same columns and the same rows, in whatever order."""
    qualified = client.make_qualified_table_name(name)
    columns = client.execute_sql(f"DESCRIBE {qualified}") or ()
    rows = client.execute_sql(f"SELECT count(*), CAST(sum(hash(one)) AS VARCHAR) FROM {qualified} one") or ()
    return (*columns, *rows)


def _rows(client: Client, name: str) -> pa.RecordBatchReader:
    """Return the rows of the table `name` as they arrive, with the columns of its Delta table."""
    qualified, connection = client.make_qualified_table_name(name), client.native_connection
    described = {column: (kind, null) for column, kind, null, *_ in client.execute_sql(f"DESCRIBE {qualified}") or ()}
    found = connection.sql(f"SELECT * FROM {qualified}").to_arrow_reader(_BATCH)
    schema = pa.schema([_field(field, *described[field.name]) for field in found.schema])
    return found.cast(schema)


def _field(field: pa.Field, kind: str, null: str) -> pa.Field:
    is_moment = pa.types.is_timestamp(field.type) and field.type.tz  # DuckDB names the time zone of this machine
    data_type = pa.timestamp("us", "UTC") if is_moment else field.type
    return pa.field(field.name, data_type, null == "YES", {_TYPE: _JSON} if kind == _JSON else None)
