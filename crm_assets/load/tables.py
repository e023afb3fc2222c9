"""What stands in a table after a load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.load.dialect import SPOKEN
from crm_assets.load.key_sql import key_sql
from crm_assets.models.by_products import REJECTED_TABLE
from crm_assets.models.columns import LOAD_ID

_PREVIEWED = 5
"""Rows of a preview."""


@dataclass(frozen=True)
class TableCounts:
    """How many rows a table has."""

    table: str
    name: str
    """Fully qualified, as SQL takes it without quotes: `warehouse.crm.contacts`."""
    rows: int
    rows_of_load: int
    """Rows that the load in question brought."""


@dataclass(frozen=True)
class TableFacts(TableCounts):
    """One table of the warehouse, looked at.

    `preview` holds up to five rows, the smallest keys first, in the order of `preview_columns`.
    """

    columns: TTableSchemaColumns
    preview_columns: Sequence[str]
    preview: Sequence[Sequence[Any]]


def facts(
    client: SqlClientBase[Any], schema: Schema, keys: Mapping[str, Sequence[str]], load_id: str
) -> dict[str, TableFacts]:
    """Return facts about the tables of `keys`, each with its key, after the load `load_id`, each in two queries."""
    found = {}
    for table, key in keys.items():
        qualified = client.make_qualified_table_name(table)
        columns = schema.get_table_columns(table)
        names = [name for name in columns if not name.startswith("_dlt")]
        selected = ", ".join(client.escape_column_name(name) for name in names)
        counts = table_counts(client, table, load_id)
        order = f"ORDER BY {key_sql(client, key)}" if key else ""
        preview = client.execute_sql(f"SELECT {selected} FROM {qualified} {order} LIMIT {_PREVIEWED}")
        found[table] = TableFacts(
            **vars(counts),
            columns=columns,
            preview_columns=names,
            preview=preview or [],
        )
    return found


def table_counts(client: SqlClientBase[Any], table: str, load_id: str) -> TableCounts:
    """Return how many rows `table` has, and how many of them the load `load_id` brought."""
    catalog = "current_database()" if client.capabilities.sqlglot_dialect in SPOKEN else "NULL"
    counts = f"SELECT {catalog}, count(*), count(*) FILTER (WHERE {client.escape_column_name(LOAD_ID)} = %s)"
    found = client.execute_sql(f"{counts} FROM {client.make_qualified_table_name(table)}", load_id)
    database, rows, of_load = found[0] if found else (None, 0, 0)
    path = client.make_qualified_table_name_path(table, quote=False)
    name = f"{database}.{client.dataset_name}.{table}" if database else ".".join(path)
    return TableCounts(table, name, int(rows), int(of_load))


def rejected_rows(client: SqlClientBase[Any], load_id: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Return up to five records that the load `load_id` rejected, with the names of the columns."""
    head = ("resource", "record_id", "reason")
    selected = ", ".join(map(client.escape_column_name, head))
    table, load = client.make_qualified_table_name(REJECTED_TABLE), client.escape_column_name(LOAD_ID)
    rows = client.execute_sql(f"SELECT {selected} FROM {table} WHERE {load} = %s LIMIT {_PREVIEWED}", load_id)
    return head, rows or []
