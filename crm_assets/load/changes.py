"""How many rows a load changes: the rows before it are remembered as hashes, and compared when it is done."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dlt.destinations.sql_client import SqlClientBase

from crm_assets.load.fingerprints import row_hash
from crm_assets.load.key_sql import key_sql
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE

_OF_THE_LOAD = (LOAD_ID, MISSING_SINCE, DELETED_AT)
"""Columns that say something of the load, not of the record."""

Client = SqlClientBase[Any]


@dataclass(frozen=True)
class RowsBefore:
    """The rows of a table before a load, in a temporary table of the connection."""

    table: str
    key: Sequence[str]
    columns: Sequence[str]

    @classmethod
    def remember(cls, client: Client, table: str, key: Sequence[str], columns: Collection[str]) -> Self | None:
        """Remember the living rows of `table`, which has `columns`; None where this kind of warehouse has no hash."""
        compared = sorted(set(columns) - set(_OF_THE_LOAD))
        hashed = row_hash(client, compared)
        if hashed is None:
            return None
        living = f"WHERE {client.escape_column_name(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""
        name = client.make_qualified_table_name(table)
        client.execute_sql(
            f"CREATE TEMPORARY TABLE {_name(client, table)} AS SELECT {key_sql(client, key)}, {hashed} AS row_hash"
            f" FROM {name} {living}"
        )
        return cls(table, key, compared)

    def count_changed(self, client: Client, load_id: str, columns: Collection[str]) -> int:
        """Return how many of them the load `load_id` changed; the table has `columns` now."""
        added = sorted(set(columns) - set(self.columns) - set(_OF_THE_LOAD))
        differs = [f"{row_hash(client, self.columns)} <> row_hash"]
        differs += [f"{client.escape_column_name(name)} IS NOT NULL" for name in added]
        load, name = client.escape_column_name(LOAD_ID), client.make_qualified_table_name(self.table)
        rows = client.execute_sql(
            f"SELECT count(*) FROM {name} JOIN {_name(client, self.table)} USING ({key_sql(client, self.key)})"
            f" WHERE {load} = %s AND ({' OR '.join(differs)})",
            load_id,
        )
        client.execute_sql(f"DROP TABLE {_name(client, self.table)}")
        return int(rows[0][0]) if rows else 0


def _name(client: Client, table: str) -> str:
    return client.escape_column_name(f"_before_{table}")
