"""The tables that a load writes beside those of the resources: rejected records, and every version of a record."""

from collections.abc import Sequence

from crm_assets.models.columns import LOAD_ID, Column
from crm_assets.models.record import DataType
from crm_assets.models.values import DataTypeName


def _column(name: str, kind: DataTypeName, description: str, *, nullable: bool = False) -> Column:
    return Column(name, name, DataType(kind), nullable, description)


REJECTED_TABLE = "rejected_records"
"""The table of the records that cannot be rows, each with the reason."""
REJECTED_COLUMNS: Sequence[Column] = (
    _column("resource", "text", "Resource that the record belongs to."),
    _column("record_id", "text", "Identifier as the CRM sent it; NULL for a record without one.", nullable=True),
    _column("reason", "text", "Why it cannot be a row."),
    _column("record", "json", "The whole record, as the CRM sent it."),
)
"""The columns of that table, beside dlt's own."""

VALID_FROM, VALID_TO = "_dlt_valid_from", "_dlt_valid_to"
"""Since when a version was valid, and until when; NULL while it still is. The names are dlt's."""
VERSION = "_dlt_row_version"
"""Which version of the record a row is. The name is dlt's."""
HISTORY_COLUMNS: Sequence[Column] = (
    _column(VALID_FROM, "timestamp", "Since when the version was valid."),
    _column(VALID_TO, "timestamp", "Until when it was valid; NULL while it still is.", nullable=True),
    _column(VERSION, "text", "Fingerprint of the version's values."),
)
"""The columns of a history beside those of its resource."""
LOAD_COLUMN = _column(LOAD_ID, "text", "The load that last wrote the row.")
"""The column that dlt adds to each table."""


def history_table(resource: str) -> str:
    """Return the name of the table with all versions of the records of `resource`."""
    return f"{resource}_history"
