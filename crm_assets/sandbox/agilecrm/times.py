"""The times of a record, for sorting and comparing: epoch milliseconds, however they are written."""

from typing import Any

from crm_assets.models.values import to_timestamp


def milliseconds(record: Any, field: str) -> int:
    """Return a time of a record in epoch milliseconds; 0 for none, and for what is no time."""
    try:
        moment = to_timestamp(record[field])
    except (KeyError, TypeError, ValueError):
        return 0
    return round(moment.timestamp() * 1000) if moment else 0
