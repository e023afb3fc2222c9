"""What stands in a table after a load."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.models.columns import LOAD_ID


@dataclass(frozen=True)
class TableFacts:
    """One table of the warehouse, looked at.

    `preview` holds up to five rows, the smallest ids first, in the order of `preview_columns`.
    """

    name: str
    """Fully qualified, as SQL takes it without quotes: `warehouse.crm.contacts`."""
    rows: int
    rows_of_load: int
    """Rows that the load in question brought."""
    columns: TTableSchemaColumns
    preview_columns: Sequence[str]
    preview: Sequence[Sequence[Any]]


def facts(client: SqlClientBase[Any], schema: Schema, tables: Sequence[str], load_id: str) -> dict[str, TableFacts]:
    """Return facts about `tables` after the load `load_id`, each in two queries."""
    found = {}
    database = client.execute_sql("SELECT current_database()")
    catalog = str(database[0][0]) if database else ""
    for table in tables:
        qualified = client.make_qualified_table_name(table)
        columns = schema.get_table_columns(table)
        names = [name for name in columns if not name.startswith("_dlt")]
        selected = ", ".join(client.escape_column_name(name) for name in names)
        rows = client.execute_sql(
            f"SELECT count(*), count(*) FILTER (WHERE {LOAD_ID} = %s) FROM {qualified}",
            load_id,
        )
        preview = client.execute_sql(f"SELECT {selected} FROM {qualified} ORDER BY id LIMIT 5")
        found[table] = TableFacts(
            name=f"{catalog}.{client.dataset_name}.{table}",
            rows=int(rows[0][0]) if rows else 0,
            rows_of_load=int(rows[0][1]) if rows else 0,
            columns=columns,
            preview_columns=names,
            preview=preview or [],
        )
    return found
