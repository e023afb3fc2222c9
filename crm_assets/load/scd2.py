"""Every version of a record: the second table `<resource>_history`, which dlt keeps as a slowly changing dimension."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltResource

from crm_assets.extract.json_decoder import parse
from crm_assets.extract.spool import COUNT, Spooled
from crm_assets.models.by_products import VALID_FROM, VALID_TO, VERSION, history_table
from crm_assets.models.values import json_text

_BETWEEN, _ESCAPE = "\x1f", "\x1e"


def history(listing: Spooled, columns: TTableSchemaColumns, moment: datetime, ends: str) -> DltResource:
    """Return the dlt resource of the versions of `listing`.

    Args:
        listing: a complete listing.
        columns: the hints of its columns.
        moment: when versions that are not the same any more ended, and the new ones began.
        ends: SQL condition of the records whose versions end if the listing does not have them.
    """
    strategy: Any = {
        "disposition": "merge",
        "strategy": "scd2",
        "destination_scope": ends,
        "validity_column_names": [VALID_FROM, VALID_TO],
        "row_version_column_name": VERSION,
        "boundary_timestamp": moment,
    }
    return dlt.resource(
        _versions(listing),
        name=history_table(listing.resource),
        write_disposition=strategy,
        # An earlier version had a merge key, of which dlt says that it ignores it.
        columns={name: {**hint, "primary_key": False, "merge_key": False} for name, hint in columns.items()},
    )


def last_moment(client: SqlClientBase[Any], resource: str) -> datetime | None:
    """Return when a version of a record of `resource` last began or ended; None if it has no history."""
    table = client.make_qualified_table_name(history_table(resource))
    begun, ended = (f"max({client.escape_column_name(name)})" for name in (VALID_FROM, VALID_TO))
    try:
        rows = client.execute_sql(f"SELECT {begun}, {ended} FROM {table}")
    except DatabaseUndefinedRelation:
        return None
    found = [one for row in rows or () for one in row if one is not None]
    return max((one if one.tzinfo else one.replace(tzinfo=UTC) for one in found), default=None)


def _versions(listing: Spooled) -> Iterator[pa.Table]:
    of_the_listing = any(column.name == COUNT for column in listing.columns)  # not of the record it is on
    types = {column.name: column.data_type.name for column in listing.columns} | dict(listing.types)
    json = {name for name, kind in types.items() if kind == "json"}
    for table in listing.tables():
        texts = _texts(table.drop_columns([COUNT]) if of_the_listing else table, json)
        versions = [sha256(text.encode()).hexdigest() for text in texts.to_pylist()]
        yield table.append_column(VERSION, pa.array(versions, pa.string()))


def _texts(table: pa.Table, json: Collection[str]) -> pa.ChunkedArray:
    """Return each row as text, the same for the same values, whichever columns without a value there are beside.

    Args:
        table: rows.
        json: its columns of JSON text, in which the order of the keys says nothing.
    """
    names = sorted(table.column_names)
    parts = [
        pc.binary_join_element_wise(name, _escaped(_sorted(table[name]) if name in json else table[name]), "=")
        for name in names
    ]
    return pc.binary_join_element_wise(*parts, _BETWEEN, null_handling="skip")


def _sorted(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    values = [None if text is None else json_text(parse(text.encode()), sort_keys=True) for text in texts.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.string())])


def _escaped(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return `values` as text without what stands between two of them; for most values, as they are."""
    texts = pc.cast(values, pa.string())
    doubled = pc.replace_substring(texts, _ESCAPE, f"{_ESCAPE}{_ESCAPE}")
    return pc.replace_substring(doubled, _BETWEEN, f"{_ESCAPE}_")
