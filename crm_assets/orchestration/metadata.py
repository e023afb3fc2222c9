"""What an asset and a materialization tell the reader of the Dagster UI."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dlt.common.schema.typing import TTableSchemaColumns

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE, Column, column_name, variant_of

if TYPE_CHECKING:
    from crm_assets.extract.fetch import Fetched
    from crm_assets.load.load import Loaded
    from crm_assets.load.tables import TableCounts, TableFacts
    from crm_assets.load.warehouse import OpenWarehouse

_PREVIEW_COLUMNS = 8
_PREVIEW_WIDTH = 40
_MAX_SAFE_INTEGER = 2**53
"""A browser shows larger numbers wrongly."""
_UNDECLARED = "Not declared: of the type that its first values had."
_ADDED = {
    LOAD_ID: ("text", "The load that last wrote the row."),
    MISSING_SINCE: ("timestamp", "When a listing first missed the record; NULL while it is listed."),
    DELETED_AT: ("timestamp", "When it was confirmed that the CRM deleted the record; NULL while it was not."),
}


def address(account: Account) -> dg.MetadataValue[str]:
    """Return where the CRM of `account` is."""
    if account.is_sandbox:
        return dg.MetadataValue.text("the sandbox CRM of this project, on loopback")
    return dg.MetadataValue.url(account.crm.base_url) if account.crm.base_url else dg.MetadataValue.text("not set")


def declared_schema(resource: Resource) -> dg.TableSchema:
    """Return the declared columns of `resource`, and those that each load adds, as Dagster shows them."""
    added = [dg.TableColumn(name, *facts) for name, facts in _ADDED.items()]
    is_unique = len(resource.key) == 1 and resource.write_disposition != "append"
    declared = table_schema(resource.columns, unique=resource.key[0] if is_unique else "")
    return dg.TableSchema([*declared.columns, *added])


def table_schema(columns: Sequence[Column], unique: str = "") -> dg.TableSchema:
    """Return `columns` as Dagster shows them; in the one called `unique`, no value comes twice."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.data_type.name,
                column.description,
                dg.TableColumnConstraints(nullable=column.nullable, unique=column.name == unique),
            )
            for column in columns
        ]
    )


def table_location(counts: "TableCounts", warehouse: "OpenWarehouse") -> dict[str, str]:
    """Return where a table is: its name, and its DuckDB file or its folder in a lake, if it has one."""
    uri, in_lake = warehouse.table_uri(counts.table), warehouse.working_copy is not None
    name = f"{warehouse.account.dataset}.{counts.table}" if in_lake else counts.name
    return {"dagster/table_name": name, **({"dagster/uri": uri} if uri else {})}


def row_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> dg.TableMetadataValue:
    """Return `rows` as a table whose columns are called as `head` says."""
    records = [dg.TableRecord({name: _cell(value) for name, value in zip(head, row, strict=True)}) for row in rows]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in head]))


def materialization_metadata(
    fetched: "Fetched", loaded: "Loaded", table: "TableFacts", resource: Resource, warehouse: "OpenWarehouse"
) -> dict[str, Any]:
    """Return what one materialization says: what it brought, how that looks, where it is, and last what it cost.

    Counts that are 0 are left out.
    """
    spooled, missing = loaded.listings[fetched.resource], loaded.missing[fetched.resource]
    counts = {
        "rows_new": max(0, spooled.rows - missing.known),
        "rows_changed": loaded.changed.get(fetched.resource, 0),
        "rows_deleted": loaded.deleted[fetched.resource],
        "rows_missing": missing.missing,
        "rows_rejected": spooled.rejected_rows,
        "records_resumed": fetched.resumed,
        "retries": fetched.traffic.retries,
    }
    return {
        "dagster/row_count": table.rows,
        "rows_loaded": table.rows_of_load,
        **{name: count for name, count in counts.items() if count},
        **_since(fetched, resource),
        **_preview(table, resource),
        **table_location(table, warehouse),
        "records": fetched.records,
        "pages": fetched.traffic.pages,
        "requests": fetched.traffic.requests,
        "bytes": fetched.traffic.bytes,
        "fetch_seconds": round(fetched.seconds, 3),
        "load_seconds": round(loaded.seconds, 3),
        "stage_seconds": _stages(fetched, loaded),
        "load_id": dg.MetadataValue.text(loaded.load_id),
        **_undeclared_columns(resource, table.columns),
    }


def _stages(fetched: "Fetched", loaded: "Loaded") -> dict[str, float]:
    """Return where the time went: of this listing's threads, and of the steps in which dlt loaded all listings."""
    stages = [*fetched.traffic.seconds.items(), *loaded.steps.items()]
    return {name: round(seconds, 3) for name, seconds in stages}


def _since(fetched: "Fetched", resource: Resource) -> dict[str, str]:
    """Return from where the listing was asked for, and what it therefore cannot have."""
    if fetched.since is None:
        return {}
    if not resource.parents:
        return {"since": fetched.since}
    parents = " and ".join(resource.parents)
    left_out = f"{resource.name} of {parents} that did not change themselves, until the next full listing"
    return {"since": fetched.since, "left_out": f"{left_out} (sync.full_listing_interval)"}


def _undeclared_columns(resource: Resource, columns: TTableSchemaColumns) -> dict[str, dg.TableSchema]:
    """Return the whole schema if there is more in the table than the asset's definition says, else nothing."""
    declared = declared_schema(resource)
    names = {column.name for column in declared.columns}
    others = [
        dg.TableColumn(name, hint["data_type"] or "text", _undeclared(name))
        for name, hint in columns.items()
        if name not in names
    ]
    return {"dagster/column_schema": dg.TableSchema([*declared.columns, *others])} if others else {}


def _undeclared(name: str) -> str:
    variant = variant_of(name)
    return f"Values of {variant[0]} that do not fit its type; it is NULL where this is not." if variant else _UNDECLARED


def _preview(table: "TableFacts", resource: Resource) -> dict[str, dg.TableMetadataValue]:
    """Return some rows of `table`: of the columns that the model chooses, or else of those that say something."""
    if not table.preview:
        return {}
    rows = [dict(zip(table.preview_columns, row, strict=True)) for row in table.preview]
    head, found = _chosen(rows, resource)
    if not head:
        shown = _telling(table)[:_PREVIEW_COLUMNS]
        head = [table.preview_columns[index] for index in shown]
        found = [[row[index] for index in shown] for row in table.preview]
    return {"preview": row_table(head, found)}


def _chosen(rows: Sequence[Mapping[str, Any]], resource: Resource) -> tuple[list[str], list[list[Any]]]:
    """Return the columns that the model chooses for a preview and that have a value in one of `rows`, after the key."""
    columns = {}
    for chosen in resource.model.preview if resource.model else ():
        field, _, part = chosen.partition(".")
        values = [row.get(column_name(field)) for row in rows]
        values = [_part(value, part) for value in values] if part else values
        if any(value not in (None, "") for value in values):
            columns[part or column_name(field)] = values
    if columns:
        columns = {**{name: [row[name] for row in rows] for name in resource.key}, **columns}
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _part(value: Any, name: str) -> Any:
    """Return what is called `name` in a nested value: an object, or a list of names and values."""
    nested = json.loads(value) if isinstance(value, str) else value
    if isinstance(nested, dict):
        return nested.get(name)
    parts = [one for one in nested or () if isinstance(one, dict)] if isinstance(nested, list) else []
    return next((one.get("value") for one in parts if one.get("name") == name), None)


def _telling(table: "TableFacts") -> list[int]:
    """Return the columns that say something about the previewed rows, JSON after the others."""
    filled = [
        index
        for index in range(len(table.preview_columns))
        if any(row[index] not in (None, "", "[]", "{}") for row in table.preview)
    ]
    return sorted(filled, key=lambda index: table.columns[table.preview_columns[index]]["data_type"] == "json")


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) <= _MAX_SAFE_INTEGER):
        return value
    text = f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else " ".join(str(value).split())
    return text if len(text) <= _PREVIEW_WIDTH else f"{text[: _PREVIEW_WIDTH - 1]}…"
