"""Lists of parents that the table knows, which a listing of some parents' children does not see whole."""

from typing import Any

import orjson
import pyarrow as pa
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.extract.keys import key_values
from crm_assets.extract.spool import Spooled
from crm_assets.load.key_sql import key_sql

_CHUNK = 100_000


def with_known_lists(client: SqlClientBase[Any], listing: Spooled) -> Spooled:
    """Return `listing` whose lists of parents have those, too, that the table has. The whole listing corrects them."""
    table = client.make_qualified_table_name(listing.resource)
    lists = ", ".join(map(client.escape_column_name, listing.collected))
    schema = pa.schema([listing.schema.field(name) for name in listing.key])
    listed, known = set(listing.keys().to_pylist()), {}
    with client.execute_query(f"SELECT {key_sql(client, listing.key)}, {lists} FROM {table}") as cursor:
        while chunk := cursor.fetchmany(_CHUNK):
            arrays = [pa.array([row[place] for row in chunk], one.type) for place, one in enumerate(schema)]
            keys = key_values(pa.RecordBatch.from_arrays(arrays, schema=schema), listing.key)
            for key, row in zip(keys.to_pylist(), chunk, strict=True):
                if key in listed:
                    known[key] = [_as_json(value) for value in row[len(schema) :]]
    return listing.with_known_lists(known)


def _as_json(value: Any) -> str | None:
    """Return what a JSON column holds as text: some drivers parse it, some do not."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
