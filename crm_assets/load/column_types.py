"""The types of the columns that no model declares: those that the table has, and of new ones the least that fits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from crm_assets.extract.fetch import Fetched
from crm_assets.load.dialect import case_of, information_schema, schema_name
from crm_assets.load.type_names import data_type_in
from crm_assets.models.by_products import history_table
from crm_assets.models.values import DataTypeName


def with_types(client: SqlClientBase[Any], fetched: Sequence[Fetched]) -> list[Fetched]:
    """Return `fetched` with a type for each undeclared column: the one that it has in the warehouse, if it is there.

    A table and its history have the same types: a column that only one of the two has keeps that one's.
    """
    known = _known_types(client)
    typed = []
    for one in fetched:
        columns = known.get(history_table(one.resource), {}) | known.get(one.resource, {})
        typed.append(replace(one, spooled=one.spooled.typed(columns)))
    return typed


def _known_types(client: SqlClientBase[Any]) -> dict[str, dict[str, DataTypeName]]:
    """Return the types of the columns of each table, by folded names; those that are none of ours are left out."""
    fold = case_of(client)
    rows = client.execute_sql(
        f"SELECT table_name, column_name, data_type FROM {information_schema(client, 'columns')}"
        " WHERE table_schema = %s",
        schema_name(client, client.dataset_name),
    )
    known: dict[str, dict[str, DataTypeName]] = {}
    for table, column, found in rows or ():
        if data_type := data_type_in(client, str(found)):
            known.setdefault(fold(str(table)), {})[fold(str(column))] = data_type
    return known
