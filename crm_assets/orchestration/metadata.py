"""What an asset and a materialization tell the reader of the Dagster UI."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dlt.common.schema.typing import TTableSchemaColumns

from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE, Column

if TYPE_CHECKING:
    from crm_assets.extract.fetch import Fetched
    from crm_assets.load.load import Loaded
    from crm_assets.load.tables import TableFacts

_PREVIEW_COLUMNS = 8
_PREVIEW_WIDTH = 40
_UNDECLARED = "Undeclared field, stored as sent."
_ADDED = {
    LOAD_ID: ("text", "The load that last wrote the row."),
    MISSING_SINCE: ("timestamp", "When a listing first missed the record; NULL while it is listed."),
    DELETED_AT: ("timestamp", "When it was confirmed that the CRM deleted the record; NULL while it was not."),
}


def declared_schema(columns: Sequence[Column]) -> dg.TableSchema:
    """Return `columns`, which a model declares, and those that each load adds, as Dagster shows them."""
    declared = [
        dg.TableColumn(
            column.name,
            column.data_type.name,
            column.description,
            dg.TableColumnConstraints(nullable=column.nullable, unique=not column.nullable),
        )
        for column in columns
    ]
    return dg.TableSchema([*declared, *(dg.TableColumn(name, *facts) for name, facts in _ADDED.items())])


def materialization_metadata(fetched: "Fetched", loaded: "Loaded", table: "TableFacts") -> dict[str, Any]:
    """Return what one materialization says: what it cost, what it brought, where it is."""
    spooled, missing = loaded.listings[fetched.resource], loaded.missing[fetched.resource]
    counts = {
        "rows_new": spooled.rows - missing.known,
        "rows_changed": loaded.changed.get(fetched.resource, 0),
        "rows_deleted": loaded.deleted[fetched.resource],
        "rows_missing": missing.missing,
        "rows_rejected": spooled.rejected_rows,
        "records_resumed": fetched.resumed,
        "retries": fetched.traffic.retries,
    }
    return {
        "dagster/row_count": table.rows,
        "dagster/table_name": table.name,
        "rows_loaded": table.rows_of_load,
        **{name: count for name, count in counts.items() if count},
        "preview": dg.MetadataValue.md(_preview(table)),
        "records": fetched.records,
        "pages": fetched.traffic.pages,
        "requests": fetched.traffic.requests,
        "bytes": fetched.traffic.bytes,
        "fetch_seconds": round(fetched.seconds, 3),
        "load_seconds": round(loaded.seconds, 3),
        "load_id": dg.MetadataValue.text(loaded.load_id),
        **_undeclared_columns(spooled.columns, table.columns),
    }


def _undeclared_columns(declared_columns: Sequence[Column], columns: TTableSchemaColumns) -> dict[str, dg.TableSchema]:
    """Return the whole schema if there is more in the table than the asset's definition says, else nothing."""
    declared = declared_schema(declared_columns)
    names = {column.name for column in declared.columns}
    others = [
        dg.TableColumn(name, hint["data_type"] or "text", _UNDECLARED)
        for name, hint in columns.items()
        if name not in names
    ]
    return {"dagster/column_schema": dg.TableSchema([*declared.columns, *others])} if others else {}


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
