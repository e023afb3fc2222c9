"""The record of the loads, kept in the warehouse itself: what each load brought to each table, and left there."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.data_types import TDataType
from dlt.common.schema.typing import LOADS_TABLE_NAME, TTableSchemaColumns
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltResource

from crm_assets.load.deletes import table_columns
from crm_assets.load.fingerprints import Fingerprint
from crm_assets.models.columns import LOAD_ID

LOADS_TABLE = "resource_loads"
"""One row for each load of each resource."""
KEPT = 100
"""Loads of a resource that the table remembers."""
_WHOLE = 2
"""Loads of whole listings that are always among those that are looked back upon."""

_JSON = ("repeated_ids", "moved_ids", "fields", "fingerprints")
_TYPES: Mapping[str, tuple[TDataType, pa.DataType]] = {
    "resource": ("text", pa.string()),
    "loaded_at": ("timestamp", pa.timestamp("us", "UTC")),
    "fetch_seconds": ("double", pa.float64()),
    "records": ("bigint", pa.int64()),
    "rows_loaded": ("bigint", pa.int64()),
    "rows_rejected": ("bigint", pa.int64()),
    "rows_before": ("bigint", pa.int64()),
    "rows_missing": ("bigint", pa.int64()),
    "rows_deleted": ("bigint", pa.int64()),
    "rows_after": ("bigint", pa.int64()),
    "deletes": ("text", pa.string()),
    "deletes_blocked": ("bool", pa.bool_()),
    "deletes_allowed": ("bool", pa.bool_()),
    "listing_is_short": ("bool", pa.bool_()),
    "repeated_ids": ("json", pa.string()),
    "moved_ids": ("json", pa.string()),
    "fields": ("json", pa.string()),
    "fingerprints": ("json", pa.string()),
    "since": ("text", pa.string()),
    "reported_count": ("bigint", pa.int64()),
}
LOADS_COLUMNS: TTableSchemaColumns = {
    name: {"name": name, "data_type": kind, "nullable": name != "resource"} for name, (kind, _) in _TYPES.items()
}
"""The columns of the table, for dlt."""

Client = SqlClientBase[Any]


@dataclass(frozen=True)
class ResourceLoad:
    """One load of one resource. What is None could not be said any more: the run was killed right after the load."""

    resource: str
    loaded_at: datetime
    fetch_seconds: float
    """How long the listing had taken by then."""
    records: int
    rows_loaded: int
    """Rows that it brought to the table, each key once."""
    rows_rejected: int
    rows_before: int
    """Rows in the table before the load, without those that were flagged as deleted."""
    rows_missing: int
    """How many of them the listing did not have."""
    deletes: str
    """The setting `sync.deletes`."""
    deletes_blocked: bool
    """Whether so many were missing that none was deleted."""
    deletes_allowed: bool
    """Whether a person allowed to delete more than `sync.delete_guard` does."""
    listing_is_short: bool
    """Whether the CRM said that it had more records than it listed."""
    repeated_ids: Sequence[int | str]
    moved_ids: Sequence[int | str]
    """Keys that came more than once because the record was changed while the listing was read."""
    fields: Mapping[str, Sequence[str]]
    """The JSON types in which each field of the CRM came, none for one that was always null."""
    rows_deleted: int | None = None
    """Rows that it flagged as deleted, or removed."""
    rows_after: int | None = None
    """Rows in the table after it, without those that are flagged as deleted."""
    fingerprints: Mapping[str, Fingerprint] | None = None
    """What it left in each table. Only the latest load of a resource has them."""
    since: str | None = None
    """From where an incremental listing was asked for; None for a whole one."""
    reported_count: int | None = None
    """How many records the CRM said that it lists; None if it said nothing."""
    load_id: str = ""


def loads_resource(loads: Iterable[ResourceLoad]) -> DltResource:
    """Return the dlt resource that writes `loads` with the load that they describe."""
    rows = [{name: _stored(name, value) for name, value in asdict(load).items() if name in _TYPES} for load in loads]
    schema = pa.schema([(name, kind) for name, (_, kind) in _TYPES.items()])
    table = pa.Table.from_pylist(rows, schema)
    return dlt.resource([table], name=LOADS_TABLE, write_disposition="append", columns=LOADS_COLUMNS)


def complete_record(
    client: Client, resource: str, load_id: str, rows_deleted: int, rows_after: int, left: Mapping[str, Fingerprint]
) -> None:
    """Add to the record of the load `load_id` what it left, and forget what is too old to matter."""
    table, load = client.make_qualified_table_name(LOADS_TABLE), client.escape_column_name(LOAD_ID)
    fingerprints = json.dumps({name: one.as_json() for name, one in left.items()})
    client.execute_sql(
        f"UPDATE {table} SET rows_deleted = %s, rows_after = %s, fingerprints = %s WHERE resource = %s AND {load} = %s",
        rows_deleted,
        rows_after,
        fingerprints,
        resource,
        load_id,
    )
    client.execute_sql(
        f"UPDATE {table} SET fingerprints = NULL WHERE resource = %s AND {load} <> %s AND fingerprints IS NOT NULL",
        resource,
        load_id,
    )
    latest = f"SELECT {load} FROM {table} WHERE resource = %s ORDER BY 1 DESC LIMIT {KEPT}"
    last_full = f"SELECT max({load}) FROM {table} WHERE resource = %s AND {client.escape_column_name('since')} IS NULL"
    client.execute_sql(
        f"DELETE FROM {table} WHERE resource = %s AND {load} NOT IN ({latest}) AND {load} NOT IN ({last_full})",
        resource,
        resource,
        resource,
    )


def last_loads(client: Client) -> dict[str, str]:
    """Return the id of the last complete load of each resource; nothing without a record."""
    table, own = (client.make_qualified_table_name(name) for name in (LOADS_TABLE, LOADS_TABLE_NAME))
    load = client.escape_column_name(LOAD_ID)
    where = f"{load} IN (SELECT load_id FROM {own} WHERE status = 0)"
    try:
        rows = client.execute_sql(f"SELECT resource, max({load}) FROM {table} WHERE {where} GROUP BY resource")
    except DatabaseUndefinedRelation:
        return {}
    return {str(resource): str(load_id) for resource, load_id in rows or ()}


def last_full_listings(client: Client) -> dict[str, datetime]:
    """Return when each resource was last loaded from a whole listing; nothing without a record."""
    table, own = (client.make_qualified_table_name(name) for name in (LOADS_TABLE, LOADS_TABLE_NAME))
    load, since = map(client.escape_column_name, (LOAD_ID, "since"))
    where = f"{load} IN (SELECT load_id FROM {own} WHERE status = 0)"
    if "since" in table_columns(client, LOADS_TABLE):  # a table of an earlier version knows whole listings only
        where += f" AND {since} IS NULL"
    try:
        rows = client.execute_sql(f"SELECT resource, max(loaded_at) FROM {table} WHERE {where} GROUP BY resource")
    except DatabaseUndefinedRelation:
        return {}
    return {str(resource): moment for resource, moment in rows or ()}


def read_loads(client: Client, limit: int) -> dict[str, list[ResourceLoad]]:
    """Return the last complete loads of each resource, the latest first; nothing without a record.

    Args:
        client: a connection to the warehouse.
        limit: how many of each; the last ones of a whole listing are among them, up to two, however old they are.
    """
    table, own = (client.make_qualified_table_name(name) for name in (LOADS_TABLE, LOADS_TABLE_NAME))
    load, since = map(client.escape_column_name, (LOAD_ID, "since"))
    # A table of an earlier version has fewer columns, until the next load.
    columns = table_columns(client, LOADS_TABLE)
    known = [name for name in _TYPES if name in columns]
    if not known:
        return {}
    names = ", ".join(map(client.escape_column_name, known))
    is_whole = f"{since} IS NULL" if "since" in known else "1 = 1"
    ranked = (
        f"SELECT {names}, {load}, row_number() OVER (PARTITION BY resource ORDER BY {load} DESC) AS place,"
        f" row_number() OVER (PARTITION BY resource, {is_whole} ORDER BY {load} DESC) AS place_of_its_kind"
        f" FROM {table} WHERE {load} IN (SELECT load_id FROM {own} WHERE status = 0)"
    )
    kept = f"place <= {limit} OR ({is_whole} AND place_of_its_kind <= {min(limit, _WHOLE)})"
    try:
        rows = client.execute_sql(f"SELECT {names}, {load} FROM ({ranked}) r WHERE {kept} ORDER BY {load} DESC")
    except DatabaseUndefinedRelation:
        return {}
    loads: dict[str, list[ResourceLoad]] = {}
    for row in rows or ():
        one = _load(dict(zip([*known, "load_id"], row, strict=True)))
        loads.setdefault(one.resource, []).append(one)
    return loads


def _load(values: dict[str, Any]) -> ResourceLoad:
    found = {name: _parsed(value) if name in _JSON else value for name, value in values.items()}
    if found["fingerprints"] is not None:
        found["fingerprints"] = {name: Fingerprint.of_json(one) for name, one in found["fingerprints"].items()}
    return ResourceLoad(**found)


def _parsed(value: Any) -> Any:
    """Return what a JSON column holds: some drivers parse it, some do not."""
    return json.loads(value) if isinstance(value, str) else value


def _stored(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _JSON and value is not None else value
