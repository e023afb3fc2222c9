"""Records that the CRM no longer lists: how many they are, and what happens to their rows."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.extract.fetch import Fetched
from crm_assets.extract.keys import key_values
from crm_assets.extract.spool import Spooled
from crm_assets.load.dialect import case_of, information_schema, schema_name
from crm_assets.load.key_sql import key_sql, key_text_sql
from crm_assets.load.reported_count import about_equal
from crm_assets.models.by_products import REJECTED_TABLE, VALID_TO, history_table
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE
from crm_assets.settings import SyncSettings

SMALL_TABLE = 100
"""Rows. The guard is for tables with more than this."""
TINY_TABLE = 10
"""Rows. Of a table with more than this, not all are deleted at once, be it small."""
_CHUNK = 100_000


@dataclass(frozen=True)
class MissingRows:
    """Rows of a table whose records a listing does not have."""

    rows: int
    """Rows of the table before the load, without those that are flagged."""
    missing: int
    known: int = 0
    """Rows whose records the listing has, as rows."""
    listing_is_short: bool = False
    """Whether the CRM says that it has more records than it listed."""

    def is_doubtful(self, guard: float) -> bool:
        """Return whether something else than deleted records may be the reason: more than the share `guard` is one."""
        if not self.missing:
            return False
        is_emptied = self.rows > TINY_TABLE and self.missing == self.rows
        return self.listing_is_short or is_emptied or (self.rows > SMALL_TABLE and self.missing > guard * self.rows)


Client = SqlClientBase[Any]


def missing_rows(client: Client, listing: Spooled, columns: Collection[str]) -> MissingRows:
    """Compare the table of `listing`, as it is before the load and with `columns`, with the listing as it was read.

    A record that was listed and cannot be a row is not gone. While nobody can read which one that is, none is.
    """
    if not {*listing.key, LOAD_ID} <= set(columns):
        return MissingRows(0, 0)
    is_short = _is_short(listing)
    if not listing.key:
        rows = count_living(client, listing.resource, columns)
        return MissingRows(rows, max(0, rows - listing.rows), min(rows, listing.rows), is_short)
    rejected = listing.rejected_keys()
    listed = pa.chunked_array([listing.keys(), rejected]).combine_chunks()
    keys = pa.chunked_array(_living_keys(client, listing, columns), listed.type)
    missing = len(keys.filter(pc.invert(pc.is_in(keys, listed))))
    known = len(keys) - missing - len(keys.filter(pc.is_in(keys, rejected)))
    return MissingRows(len(keys), 0 if listing.unreadable_rows else missing, known, is_short)


def _is_short(listing: Spooled) -> bool:
    records, reported_count = listing.rows + listing.rejected_rows, listing.reported_count()
    return reported_count is not None and reported_count > records and not about_equal(reported_count, records)


def _living_keys(client: Client, listing: Spooled, columns: Collection[str]) -> Iterator[pa.Array]:
    """Yield the keys of the living rows in the table of `listing`, as `key_values` returns them."""
    names, table = key_sql(client, listing.key), client.make_qualified_table_name(listing.resource)
    schema = pa.schema([listing.schema.field(name) for name in listing.key])
    with client.execute_query(f"SELECT {names} FROM {table} {_living(client, columns)}") as cursor:
        while chunk := cursor.fetchmany(_CHUNK):
            arrays = [pa.array([row[place] for row in chunk], field.type) for place, field in enumerate(schema)]
            yield key_values(pa.RecordBatch.from_arrays(arrays, schema=schema), listing.key)


def is_confirmed(fetched: Fetched, newest: Spooled, settings: SyncSettings) -> bool:
    """Return whether what this listing misses is deleted for certain, so that no second listing must miss it too.

    Between two pages records can come and go, and others then move across the border unseen. A listing of one page,
    or one that has as many records as the CRM says, and none of them twice, has missed nothing.
    """
    match settings.deletes_confirm:
        case "none":
            return True
        case "second_listing":
            return False
    if not fetched.records or fetched.has_parents or newest.repeated_ids or newest.moved_ids:
        return False
    return not fetched.has_pages or newest.reported_count() == newest.rows + newest.rejected_rows


def apply_deletes(
    client: Client, listing: Spooled, settings: SyncSettings, load_id: str, moment: datetime, *, confirmed: bool
) -> int:
    """Flag or remove the rows that the load `load_id`, which brought every record of the listing, did not touch.

    Args:
        client: a connection to the warehouse.
        listing: what the load brought.
        settings: what happens to deleted records.
        load_id: the load.
        moment: when it was.
        confirmed: whether they are deleted for certain. If not, it takes a second load that does not touch them.

    Returns:
        How many rows were flagged or removed.
    """
    table = client.make_qualified_table_name(listing.resource)
    rejected = client.make_qualified_table_name(REJECTED_TABLE)
    load, deleted_at, missing = (client.escape_column_name(one) for one in (LOAD_ID, DELETED_AT, MISSING_SINCE))
    untouched = (
        f"{load} <> '{load_id}' AND {key_text_sql(client, listing.key)} NOT IN (SELECT record_id FROM {rejected}"
        f" WHERE resource = '{listing.resource}' AND {load} = '{load_id}' AND record_id IS NOT NULL)"
    )
    gone = untouched if confirmed else f"{untouched} AND ({missing} IS NOT NULL OR {deleted_at} IS NOT NULL)"
    if settings.history:
        key, valid_to = key_sql(client, listing.key), client.escape_column_name(VALID_TO)
        versions = client.make_qualified_table_name(history_table(listing.resource))
        client.execute_sql(
            f"UPDATE {versions} SET {valid_to} = %s"
            f" WHERE {valid_to} IS NULL AND ({key}) IN (SELECT {key} FROM {table} WHERE {gone})",
            moment,
        )
    deleted = f"{gone} AND {deleted_at} IS NULL" if settings.deletes == "flag" else gone
    count = 0 if settings.deletes == "keep" else _count(client, f"SELECT count(*) FROM {table} WHERE {deleted}")
    if settings.deletes == "remove" and count:
        client.execute_sql(f"DELETE FROM {table} WHERE {deleted}")
    if settings.deletes == "flag" and count:
        client.execute_sql(f"UPDATE {table} SET {deleted_at} = %s WHERE {deleted}", moment)
    client.execute_sql(
        f"UPDATE {table} SET {missing} = %s WHERE {missing} IS NULL AND {deleted_at} IS NULL AND {untouched}",
        moment,
    )
    return count


def count_living(client: Client, resource: str, columns: Collection[str]) -> int:
    """Return how many rows the table of `resource`, which has `columns`, has that are not flagged as deleted."""
    table = client.make_qualified_table_name(resource)
    return _count(client, f"SELECT count(*) FROM {table} {_living(client, columns)}")


def _living(client: Client, columns: Collection[str]) -> str:
    return f"WHERE {client.escape_column_name(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""


def _count(client: Client, sql: str) -> int:
    rows = client.execute_sql(sql)
    return int(rows[0][0]) if rows else 0


def forget_repeated(client: Client, resource: str, load_id: str) -> None:
    """Keep one copy of a record that cannot be a row, the one of the load `load_id`, however often it came."""
    rejected, load = client.make_qualified_table_name(REJECTED_TABLE), client.escape_column_name(LOAD_ID)
    now = f"SELECT CAST(record AS VARCHAR) FROM {rejected} WHERE resource = %s AND {load} = %s"
    client.execute_sql(
        f"DELETE FROM {rejected} WHERE resource = %s AND {load} <> %s AND CAST(record AS VARCHAR) IN ({now})",
        resource,
        load_id,
        resource,
        load_id,
    )


def table_columns(client: Client, table: str) -> set[str]:
    """Return the columns of `table`, none if there is no such table."""
    rows = client.execute_sql(
        f"SELECT column_name FROM {information_schema(client, 'columns')} WHERE table_schema = %s AND table_name = %s",
        schema_name(client, client.dataset_name),
        schema_name(client, table),
    )
    return {case_of(client)(str(row[0])) for row in rows or ()}
