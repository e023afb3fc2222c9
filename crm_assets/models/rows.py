"""One record as one row: the slow and plain way, for sources that yield records one by one."""

from typing import Any

from crm_assets.models.columns import columns_of
from crm_assets.models.values import CONVERT


def to_row(resource: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` with the values that the declared columns of `resource` hold.

    A value that its column cannot hold stays as it is, so that dlt gives it a variant column of its
    own; nested values stay nested, because dlt writes JSON itself. Undeclared fields are untouched.
    """
    converters = {
        column.field: CONVERT[column.data_type.name]
        for column in columns_of(resource)
        if column.data_type.name != "json"
    }
    return {field: _held(value, converters.get(field)) for field, value in record.items()}


def _held(value: Any, convert: Any) -> Any:
    if value is None or convert is None:
        return value
    try:
        return convert(value)
    except ValueError:
        return value
