"""dlt's staging dataset: the tables from which a load is merged, and which nothing needs afterwards."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from dlt.common.schema.typing import VERSION_TABLE_NAME
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.load.dialect import case_of, information_schema, schema_name


def drop_staging_tables(client: SqlClientBase[Any], tables: Collection[str], *, is_exclusive: bool) -> None:
    """Drop `tables` from the staging dataset, in whatever state they are; the next load makes what it needs.

    dlt's note of what is there goes too: dlt would trust it, and not make them. Tables of others stay.

    Args:
        client: a connection to the warehouse.
        tables: names of the tables.
        is_exclusive: whether nobody else can load meanwhile. Then the dataset goes too, if nothing is left in it.
    """
    rows = client.execute_sql(
        f"SELECT table_name, table_type FROM {information_schema(client, 'tables')} WHERE table_schema = %s",
        schema_name(client, client.staging_dataset_name),
    )
    kinds = {str(name): "VIEW" if "VIEW" in str(kind).upper() else "TABLE" for name, kind in rows or ()}
    if not kinds:
        return
    fold = case_of(client)
    ours = set(map(fold, [*tables, VERSION_TABLE_NAME]))
    dropped = [name for name in kinds if fold(name) in ours]
    with client.with_staging_dataset():
        with client.begin_transaction():
            for name in dropped:
                client.execute_sql(f"DROP {kinds[name]} {client.make_qualified_table_name(name)}")
        if is_exclusive and len(dropped) == len(kinds):
            with suppress(DatabaseException):  # somebody keeps something else there than tables
                client.execute_sql(f"DROP SCHEMA {client.fully_qualified_dataset_name()}")
