"""Records that the CRM no longer lists: how many they are, and what happens to their rows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.extract.fetch import Fetched
from crm_assets.extract.spool import Spooled
from crm_assets.load.reported_count import about_equal
from crm_assets.models.by_products import REJECTED_TABLE, VALID_TO, history_table
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE
from crm_assets.settings import SyncSettings

SMALL_TABLE = 100
"""Rows. The guard is for tables with more than this."""
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

    def is_doubtful(self, settings: SyncSettings) -> bool:
        """Return whether something else than deleted records may be the reason."""
        changes_nothing = settings.deletes == "keep" and not settings.history
        if changes_nothing or not self.missing:
            return False
        return self.listing_is_short or (self.rows > SMALL_TABLE and self.missing > settings.delete_guard * self.rows)


Client = SqlClientBase[Any]


def missing_rows(client: Client, listing: Spooled, columns: Collection[str]) -> MissingRows:
    """Compare the table of `listing`, as it is before the load and with `columns`, with the listing as it was read.

    A record that was listed and cannot be a row is not gone.
    """
    if not {"id", LOAD_ID} <= set(columns):
        return MissingRows(0, 0)
    live = f"WHERE {client.escape_column_name(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""
    table = client.make_qualified_table_name(listing.resource)
    listed = pa.chunked_array([*listing.ids(), *listing.rejected_ids()], pa.int64()).combine_chunks()
    chunks: list[pa.Array] = []
    with client.execute_query(f"SELECT id FROM {table} {live}") as cursor:
        while chunk := cursor.fetchmany(_CHUNK):
            chunks.append(pa.array([row[0] for row in chunk], pa.int64()))
    rows = pa.chunked_array(chunks, pa.int64())
    records, reported_count = listing.rows + listing.rejected_rows, listing.reported_count()
    is_short = reported_count is not None and reported_count > records and not about_equal(reported_count, records)
    missing = len(rows.filter(pc.invert(pc.is_in(rows, listed))))
    rejected = pa.chunked_array(listing.rejected_ids(), pa.int64()).combine_chunks()
    known = len(rows) - missing - len(rows.filter(pc.is_in(rows, rejected)))
    return MissingRows(len(rows), missing, known, is_short)


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
    if not fetched.records or newest.repeated_ids or newest.moved_ids:
        return False
    return not fetched.has_pages or newest.reported_count() == newest.rows + newest.rejected_rows


def apply_deletes(
    client: Client, resource: str, settings: SyncSettings, load_id: str, moment: datetime, *, confirmed: bool
) -> int:
    """Flag or remove the rows that the load `load_id`, which brought every record of the listing, did not touch.

    Args:
        client: a connection to the warehouse.
        resource: name of the resource.
        settings: what happens to deleted records.
        load_id: the load.
        moment: when it was.
        confirmed: whether they are deleted for certain. If not, it takes a second load that does not touch them.

    Returns:
        How many rows were flagged or removed.
    """
    table = client.make_qualified_table_name(resource)
    rejected = client.make_qualified_table_name(REJECTED_TABLE)
    load, deleted_at, missing = (client.escape_column_name(one) for one in (LOAD_ID, DELETED_AT, MISSING_SINCE))
    untouched = (
        f"{load} <> '{load_id}' AND CAST(id AS VARCHAR) NOT IN (SELECT record_id FROM {rejected}"
        f" WHERE resource = '{resource}' AND {load} = '{load_id}' AND record_id IS NOT NULL)"
    )
    gone = untouched if confirmed else f"{untouched} AND ({missing} IS NOT NULL OR {deleted_at} IS NOT NULL)"
    if settings.history:
        _end_versions(client, resource, f"SELECT id FROM {table} WHERE {gone}", moment)
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


def _end_versions(client: Client, resource: str, ids: str, moment: datetime) -> None:
    table = client.make_qualified_table_name(history_table(resource))
    valid_to = client.escape_column_name(VALID_TO)
    client.execute_sql(
        f"UPDATE {table} SET {valid_to} = %s WHERE {valid_to} IS NULL AND id IN ({ids})",
        moment,
    )


def living_rows(client: Client, resource: str) -> int:
    """Return how many rows the table of `resource` has that are not flagged as deleted."""
    table, deleted_at = client.make_qualified_table_name(resource), client.escape_column_name(DELETED_AT)
    return _count(client, f"SELECT count(*) FROM {table} WHERE {deleted_at} IS NULL")


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
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        client.dataset_name,
        table,
    )
    return {str(row[0]) for row in rows or ()}
