"""Of which kind a value is, and which type of column holds all kinds that came: for fields that no model declares."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from crm_assets.models.values import DataTypeName, is_bigint, to_timestamp

Kind = Literal["bigint", "double", "bool", "text", "timestamp", "json", "digits", "empty"]
"""dlt's data types, and two more for texts: `digits` for one that is a whole number, which a column of numbers holds,
and `empty` for an empty one, which does not say what the field is for, and which any column holds.

A timestamp is a date with a time in ISO 8601, as text: what dlt detects as shipped. A whole number beyond 64 bits is
text.
"""

DATE_AND_TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d"
"""How a timestamp begins, as a regular expression."""

DIGITS = r"^(0|-?[1-9][0-9]{0,17})$"
"""A whole number as JSON writes it, that fits into 64 bits."""

_HELD: Mapping[DataTypeName, frozenset[Kind]] = {
    "bigint": frozenset({"bigint", "digits", "empty"}),
    "double": frozenset({"bigint", "double", "digits", "empty"}),
    "bool": frozenset({"bool", "empty"}),
    "timestamp": frozenset({"timestamp", "empty"}),
    "json": frozenset(get_args(Kind)),
    "text": frozenset(get_args(Kind)),
}
_BY_PREFERENCE: tuple[DataTypeName, ...] = ("bigint", "double", "bool", "timestamp", "text")


def kind_of(value: Any) -> Kind:
    """Return the kind of `value`, which JSON delivered and which is not null."""
    match value:
        case bool():
            return "bool"
        case int():
            return "bigint" if is_bigint(value) else "text"
        case float():
            return "double"
        case str():
            return _kind_of_text(value)
        case _:
            return "json"


def holds(data_type: DataTypeName, kinds: Collection[Kind]) -> bool:
    """Return whether a column of `data_type` holds every value of `kinds`, so that none has to be looked at."""
    return _HELD[data_type].issuperset(kinds)


def least_type(kinds: Collection[Kind]) -> DataTypeName | None:
    """Return the least type that holds all `kinds`, None for none: the field was always null."""
    if not kinds:
        return None
    if "json" in kinds and set(kinds) <= {"json", "empty"}:
        return "json"
    if set(kinds) <= {"digits", "empty"}:  # a postcode, a telephone number: no number among them says otherwise
        return "text"
    return next(one for one in _BY_PREFERENCE if holds(one, kinds))


def _kind_of_text(text: str) -> Kind:
    if not text:
        return "empty"
    if re.fullmatch(DIGITS, text):
        return "digits"
    if not re.match(DATE_AND_TIME, text):
        return "text"
    try:
        to_timestamp(text)
    except ValueError:
        return "text"
    return "timestamp"
