"""Records that the CRM no longer lists: how many they are, and what happens to their rows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.extract.batches import REJECTED_TABLE
from crm_assets.extract.spool import Spooled
from crm_assets.load.reported_count import about_equal
from crm_assets.models.columns import DELETED_AT, LOAD_ID
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
    listing_is_short: bool = False
    """Whether the CRM says that it has more records than it listed."""

    def is_doubtful(self, settings: SyncSettings) -> bool:
        """Return whether something else than deleted records may be the reason."""
        changes_nothing = settings.deletes == "keep" and not settings.history
        if changes_nothing or not self.missing:
            return False
        return self.listing_is_short or (self.rows > SMALL_TABLE and self.missing > settings.delete_guard * self.rows)


Client = SqlClientBase[Any]


def missing_rows(client: Client, listing: Spooled) -> MissingRows:
    """Compare the table of `listing`, as it is before the load, with the listing as it was read.

    A record that was listed and cannot be a row is not gone.
    """
    columns = _columns(client, listing.resource)
    if not {"id", LOAD_ID} <= columns:
        return MissingRows(0, 0)
    live = f"WHERE {client.escape_column_name(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""
    table = client.make_qualified_table_name(listing.resource)
    listed = pa.chunked_array([*listing.ids(), *listing.rejected_ids()], pa.int64()).combine_chunks()
    chunks: list[pa.Array] = []
    with client.execute_query(f"SELECT id FROM {table} {live}") as cursor:  # noqa: S608 - names are escaped
        while chunk := cursor.fetchmany(_CHUNK):
            chunks.append(pa.array([row[0] for row in chunk], pa.int64()))
    rows = pa.chunked_array(chunks, pa.int64())
    records, reported_count = listing.rows + listing.rejected_rows, listing.reported_count()
    is_short = reported_count is not None and reported_count > records and not about_equal(reported_count, records)
    return MissingRows(len(rows), len(rows.filter(pc.invert(pc.is_in(rows, listed)))), is_short)


def apply_deletes(client: Client, resource: str, deletes: str, load_id: str, moment: datetime) -> None:
    """Flag or remove the rows that the load `load_id`, which brought every record of the listing, did not touch."""
    table = client.make_qualified_table_name(resource)
    rejected = client.make_qualified_table_name(REJECTED_TABLE)
    deleted_at, load = client.escape_column_name(DELETED_AT), client.escape_column_name(LOAD_ID)
    rejected_ids = f"SELECT record_id FROM {rejected} WHERE resource = %s AND {load} = %s"  # noqa: S608 - our names
    untouched = f"{load} <> %s AND CAST(id AS VARCHAR) NOT IN ({rejected_ids} AND record_id IS NOT NULL)"
    match deletes:
        case "flag":
            client.execute_sql(
                f"UPDATE {table} SET {deleted_at} = %s WHERE {deleted_at} IS NULL AND {untouched}",  # noqa: S608
                moment,
                load_id,
                resource,
                load_id,
            )
        case "remove":
            client.execute_sql(f"DELETE FROM {table} WHERE {untouched}", load_id, resource, load_id)  # noqa: S608


def forget_repeated(client: Client, resource: str, load_id: str) -> None:
    """Keep one copy of a record that cannot be a row, the one of the load `load_id`, however often it came."""
    rejected, load = client.make_qualified_table_name(REJECTED_TABLE), client.escape_column_name(LOAD_ID)
    now = f"SELECT CAST(record AS VARCHAR) FROM {rejected} WHERE resource = %s AND {load} = %s"  # noqa: S608
    client.execute_sql(
        f"DELETE FROM {rejected} WHERE resource = %s AND {load} <> %s AND CAST(record AS VARCHAR) IN ({now})",  # noqa: S608
        resource,
        load_id,
        resource,
        load_id,
    )


def _columns(client: Client, table: str) -> set[str]:
    rows = client.execute_sql(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        client.dataset_name,
        table,
    )
    return {str(row[0]) for row in rows or ()}
