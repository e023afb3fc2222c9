"""The types of the columns that no model declares: those that the table has, and of new ones the least that fits."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.errors import CrmAssetsError, own_error
from crm_assets.extract.fetch import Fetched
from crm_assets.load.dialect import case_of, in_our_dialect, information_schema, schema_name
from crm_assets.load.type_names import data_type_in
from crm_assets.models.by_products import history_table
from crm_assets.models.columns import fields_of
from crm_assets.models.values import DataTypeName


def with_types(
    job_client: SqlJobClientBase, pipeline: str, fetched: Sequence[Fetched]
) -> tuple[list[Fetched], dict[str, CrmAssetsError]]:
    """Return `fetched` with a column for each undeclared field, and a type for that: as in the warehouse, if there.

    With them comes the error of each listing of which that cannot be said.

    A table and its history have the same types: a column that only one of the two has keeps that one's.

    Args:
        job_client: a connection to the warehouse.
        pipeline: name of the pipeline that loads the tables.
        fetched: complete listings.
    """
    known = _known_types(in_our_dialect(job_client.sql_client))
    fields = _fields_of_tables(job_client, pipeline) if known else {}
    typed: list[Fetched] = []
    failed: dict[str, CrmAssetsError] = {}
    for one in fetched:
        columns = known.get(history_table(one.resource), {}) | known.get(one.resource, {})
        try:
            typed.append(replace(one, spooled=one.spooled.typed(columns, fields.get(one.resource, {}))))
        except Exception as error:
            failed[one.resource] = own_error(error, one.resource)
    return typed, failed


def _fields_of_tables(job_client: SqlJobClientBase, pipeline: str) -> dict[str, dict[str, str]]:
    """Return which column each undeclared field has in each table, as far as that can be read."""
    try:
        stored = job_client.get_stored_schema(pipeline)
        tables = json.loads(stored.schema)["tables"] if stored else {}
    except Exception:  # the preflight says what is wrong with it
        return {}
    return {name: fields_of(table["columns"]) for name, table in tables.items()}


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
