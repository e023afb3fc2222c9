"""What Arrow is told about the columns of a table."""

import pyarrow as pa

from crm_assets.models.columns import Column
from crm_assets.models.values import DataTypeName

_ARROW: dict[DataTypeName, pa.DataType] = {
    "bigint": pa.int64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "json": pa.string(),
}


def arrow_field(column: Column) -> pa.Field:
    """Return the Arrow field of `column`; JSON travels as text."""
    return pa.field(column.name, _ARROW[column.data_type.name], nullable=column.nullable)


def undeclared_field(name: str, data_type: DataTypeName = "json") -> pa.Field:
    """Return the Arrow field of a column that no model declares."""
    return pa.field(name, arrow_type(data_type))


def arrow_type(data_type: DataTypeName) -> pa.DataType:
    """Return the Arrow type of `data_type`; JSON travels as text."""
    return _ARROW[data_type]
