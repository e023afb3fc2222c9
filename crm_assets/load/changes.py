"""The rows of a table before a load, as hashes: which of them it changes, and which it need not write again."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.load.fingerprints import row_hash
from crm_assets.load.key_sql import key_sql
from crm_assets.load.warehouses.duckdb import make_room_for_update
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE

_OF_THE_LOAD = (LOAD_ID, MISSING_SINCE, DELETED_AT)
"""Columns that say something of the load, not of the record."""
_NUMBERS = count()
_PLACE, _LISTING = "_dlt_place", "_listing"

Client = SqlClientBase[Any]


@dataclass(frozen=True)
class RowsBefore:
    """The living rows of a table before a load, in a temporary table of the connection."""

    table: str
    key: Sequence[str]
    columns: Sequence[str]
    number: int
    """Tells its temporary tables from those that a load left which broke off."""

    @classmethod
    def remember(cls, client: Client, table: str, key: Sequence[str], columns: Collection[str]) -> Self | None:
        """Remember the living rows of `table`, which has `columns`; None where this kind of warehouse has no hash."""
        compared = sorted(set(columns) - set(_OF_THE_LOAD))
        hashed = row_hash(client, compared)
        if hashed is None:
            return None
        living = f"WHERE {client.escape_column_name(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""
        was_missing = f"{client.escape_column_name(MISSING_SINCE)} IS NOT NULL" if MISSING_SINCE in columns else "FALSE"
        name = client.make_qualified_table_name(table)
        found = cls(table, key, compared, next(_NUMBERS))
        client.execute_sql(
            f"CREATE TEMPORARY TABLE {found._temporary(client, 'before')} AS"
            f" SELECT {key_sql(client, key)}, {hashed} AS row_hash, {was_missing} AS was_missing FROM {name} {living}"
        )
        return found

    def unchanged(self, client: Client, tables: Iterable[pa.Table], schema: pa.Schema) -> pa.BooleanArray | None:
        """Return of each row of `tables` whether it is there, listed and with the same values.

        None where the warehouse cannot look at what is not in it yet, and where the table has a key twice, which a
        merge of all rows ends. The keys of those rows are remembered, for
        `mark_unchanged`.

        Args:
            client: a connection to the warehouse.
            tables: what is about to be loaded, all of one schema.
            schema: that schema.
        """
        connection = client.native_connection
        if not isinstance(connection, duckdb.DuckDBPyConnection):
            return None
        names = set(schema.names)
        escaped = {name: client.escape_column_name(name) for name in {*names, *self.columns}}
        sent = ", ".join(escaped[name] if name in names else "NULL" for name in self.columns)
        new = [f"{escaped[name]} IS NULL" for name in sorted(names - set(self.columns) - set(_OF_THE_LOAD))]
        key = key_sql(client, self.key)
        same_columns = " AND ".join(new) or "TRUE"
        listed = f"SELECT {_PLACE}, {key}, hash({sent}) AS sent_hash FROM {_LISTING} WHERE {same_columns}"
        numbered = _Numbered(tables)
        reader = pa.RecordBatchReader.from_batches(schema.append(pa.field(_PLACE, pa.int64())), numbered.batches())
        connection.register(_LISTING, reader)
        try:
            client.execute_sql(
                f"CREATE TEMPORARY TABLE {self._temporary(client, 'unchanged')} AS SELECT {_PLACE}, {key}"
                f" FROM ({listed}) JOIN {self._temporary(client, 'before')} USING ({key})"
                " WHERE sent_hash = row_hash AND NOT was_missing"
            )
        finally:
            connection.unregister(_LISTING)
        places = pa.table(connection.sql(f"SELECT {_PLACE} FROM {self._temporary(client, 'unchanged')}"))[_PLACE]
        found = pc.inverse_permutation(places, max_index=numbered.rows - 1).is_valid().combine_chunks()
        if found.true_count < len(places):
            client.execute_sql(f"DROP TABLE {self._temporary(client, 'unchanged')}")
            return None
        return found

    def mark_unchanged(self, client: Client, load_id: str) -> None:
        """Let the rows that were `unchanged` say that the load `load_id` brought them."""
        name, load = client.make_qualified_table_name(self.table), client.escape_column_name(LOAD_ID)
        key, unchanged = key_sql(client, self.key), self._temporary(client, "unchanged")
        rows = client.execute_sql(f"SELECT count(*) FROM {unchanged}") or [(0,)]
        make_room_for_update(client.native_connection, rows[0][0])
        client.execute_sql(f"UPDATE {name} SET {load} = %s WHERE ({key}) IN (SELECT {key} FROM {unchanged})", load_id)
        client.execute_sql(f"DROP TABLE {unchanged}")

    def count_changed(self, client: Client, load_id: str, columns: Collection[str]) -> int:
        """Return how many of them the load `load_id` changed; the table has `columns` now."""
        added = sorted(set(columns) - set(self.columns) - set(_OF_THE_LOAD))
        differs = [f"{row_hash(client, self.columns)} <> row_hash"]
        differs += [f"{client.escape_column_name(name)} IS NOT NULL" for name in added]
        load, name = client.escape_column_name(LOAD_ID), client.make_qualified_table_name(self.table)
        rows = client.execute_sql(
            f"SELECT count(*) FROM {name} JOIN {self._temporary(client, 'before')} USING ({key_sql(client, self.key)})"
            f" WHERE {load} = %s AND ({' OR '.join(differs)})",
            load_id,
        )
        client.execute_sql(f"DROP TABLE {self._temporary(client, 'before')}")
        return int(rows[0][0]) if rows else 0

    def _temporary(self, client: Client, which: str) -> str:
        return client.escape_column_name(f"_{which}_{self.table}_{self.number}")


class _Numbered:
    """Tables as batches, each row with its place; counts the rows that went by."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self.rows = 0
        self._tables = tables

    def batches(self) -> Iterator[pa.RecordBatch]:
        for table in self._tables:
            first, self.rows = self.rows, self.rows + table.num_rows
            yield from table.append_column(_PLACE, pa.arange(first, self.rows)).to_batches()
