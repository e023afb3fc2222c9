"""What an asset and a materialization tell the reader of the Dagster UI."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dlt.common.schema.typing import TTableSchemaColumns

from crm_assets.models.columns import DELETED_AT, LOAD_ID, Column

if TYPE_CHECKING:
    from crm_assets.extract.fetch import Fetched
    from crm_assets.load.load import Loaded
    from crm_assets.load.tables import TableFacts

_PREVIEW_COLUMNS = 8
_PREVIEW_WIDTH = 40
_UNDECLARED = "Undeclared field, stored as sent."
_ADDED = {
    LOAD_ID: "The load that last brought the row.",
    DELETED_AT: "When the CRM first stopped listing the record; NULL while it is listed.",
}


def declared_schema(columns: Sequence[Column]) -> dg.TableSchema:
    """Return `columns`, which a model declares, as Dagster shows them."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.data_type.name,
                column.description,
                dg.TableColumnConstraints(nullable=column.nullable, unique=not column.nullable),
            )
            for column in columns
        ]
    )


def materialization_metadata(fetched: "Fetched", loaded: "Loaded", table: "TableFacts") -> dict[str, Any]:
    """Return what one materialization says: what it cost, what it brought, where it is."""
    spooled, missing = loaded.listings[fetched.resource], loaded.missing[fetched.resource]
    return {
        "dagster/row_count": table.rows,
        "dagster/table_name": table.name,
        "dagster/column_schema": _actual_schema(spooled.columns, table.columns),
        "records": fetched.records,
        "records_resumed": fetched.resumed,
        "rows_loaded": table.rows_of_load,
        "rows_rejected": spooled.rejected_rows,
        "pages": fetched.traffic.pages,
        "requests": fetched.traffic.requests,
        "retries": fetched.traffic.retries,
        "bytes": fetched.traffic.bytes,
        "fetch_seconds": round(fetched.seconds, 3),
        "load_seconds": round(loaded.seconds, 3),
        "repeated_ids": dg.MetadataValue.json(list(spooled.repeated_ids)),
        "moved_ids": dg.MetadataValue.json(list(spooled.moved_ids)),
        "rows_new": spooled.rows - missing.known,
        "rows_missing": missing.missing,
        "rows_deleted": loaded.deleted[fetched.resource],
        "rows_before": missing.rows,
        "deletes_blocked": fetched.resource in loaded.deletes_blocked,
        "listing_is_short": missing.listing_is_short,
        "fields": dg.MetadataValue.json(spooled.fields),
        "load_id": dg.MetadataValue.text(loaded.load_id),
        "preview": dg.MetadataValue.md(_preview(table)),
    }


def _actual_schema(declared_columns: Sequence[Column], columns: TTableSchemaColumns) -> dg.TableSchema:
    declared = declared_schema(declared_columns)
    names = {column.name for column in declared.columns}
    others = [
        dg.TableColumn(name, hint["data_type"] or "text", _ADDED.get(name, _UNDECLARED))
        for name, hint in columns.items()
        if name not in names
    ]
    return dg.TableSchema([*declared.columns, *others])


def _preview(table: "TableFacts") -> str:
    if not table.preview:
        return "*The table is empty.*"
    shown = _telling(table)[:_PREVIEW_COLUMNS]
    lines = [
        [table.preview_columns[index] for index in shown],
        ["---"] * len(shown),
        *([_cell(row[index]) for index in shown] for row in table.preview),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _telling(table: "TableFacts") -> list[int]:
    """Return the columns that say something about the previewed rows, JSON after the others."""
    filled = [
        index
        for index in range(len(table.preview_columns))
        if any(row[index] not in (None, "", "[]", "{}") for row in table.preview)
    ]
    return sorted(filled, key=lambda index: table.columns[table.preview_columns[index]]["data_type"] == "json")


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= _PREVIEW_WIDTH else f"{text[: _PREVIEW_WIDTH - 1]}…"
