"""The habits of the CRM's values, undone: one function per column type.

Each takes a value as JSON delivered it and returns what the column holds, None for "no value"
(null, an empty string where a number belongs, the time 0). Each raises ValueError, with a reason
that can stand after the field's name, for a value that the column cannot hold.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Literal, TypeVar

import orjson

from crm_assets.models.nesting import deep_recursion

Number = TypeVar("Number", int, float)
DataTypeName = Literal["bigint", "text", "bool", "double", "timestamp", "json"]

TimeUnit = Literal["s", "ms"]

MILLISECONDS_FROM = 10**11
"""A time of this magnitude or more is in milliseconds, a smaller one in seconds, where nobody knows the unit."""
FIRST_SECOND = -62_135_596_800
"""0001-01-01, the first time that a warehouse timestamp holds."""
LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59, the last."""

_DATE = r"(19|20)\d{6}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**63)


def to_bigint(value: Any) -> int | None:
    """Whole numbers, also as text: `"5629585249009664"`, `5.0`."""
    number: int | float
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{show(value)} is not a whole number")
    if isinstance(value, str):
        if not value.strip():
            return None
        number = _parse(int, _plain(value), "a whole number")
    else:
        number = value
    if isinstance(number, float) and not number.is_integer():
        raise ValueError(f"{show(value)} is not a whole number")
    if not is_bigint(int(number)):
        raise ValueError(f"{show(value)} does not fit into 64 bits")
    return int(number)


def is_bigint(number: int) -> bool:
    """Return whether `number` fits into 64 bits."""
    return number in _INT64


def to_double(value: Any) -> float | None:
    """Numbers, also as text: `"1500.50"`. Not NaN, not infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{show(value)} is not a number")
    if isinstance(value, str) and not value.strip():
        return None
    number = _parse(float, _plain(value) if isinstance(value, str) else value, "a number")
    if not isfinite(number):
        raise ValueError(f"{show(value)} is not a finite number")
    return number


def to_bool(value: Any) -> bool | None:
    """true and false, also as text or as 1 and 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        match value.strip().lower():
            case "":
                return None
            case "true" | "1":
                return True
            case "false" | "0":
                return False
    raise ValueError(f"{show(value)} is neither true nor false")


def to_text(value: Any) -> str:
    """Text; anything else, also a nested value, as JSON writes it."""
    return value if isinstance(value, str) else json_text(value)


def to_timestamp(value: Any, unit: TimeUnit | None = None) -> datetime | None:
    """A point in time, in UTC, from epoch seconds, epoch milliseconds (also as text) or ISO 8601.

    0 means never. An ISO time without an offset is in UTC. A number is in `unit`, unless it would lie outside the years
    1 to 9999 as seconds; without one its magnitude decides. Eight digits as text are a date.
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{show(value)} is not a time")
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            number = float(_plain(value))
        except ValueError:
            return _from_iso(value)
        if re.fullmatch(_DATE, value.strip()):
            with suppress(ValueError):
                return _from_iso(value)
    else:
        number = value
    if number == 0:
        return None
    factor = 1000 if is_in_milliseconds(number, unit) else 1
    if not FIRST_SECOND * factor <= number <= LAST_SECOND * factor:
        raise ValueError(f"{show(value)} is outside the years 1 to 9999")
    exact = int(number) if float(number).is_integer() else number  # a fraction of a float is off by a microsecond
    return _EPOCH + (timedelta(milliseconds=exact) if factor == 1000 else timedelta(seconds=exact))


def is_in_milliseconds(number: float, unit: TimeUnit | None) -> bool:
    """Return whether a time is in milliseconds, where the model says that it is in `unit`, or None for nothing."""
    if unit == "s":
        return not FIRST_SECOND <= number <= LAST_SECOND
    return unit == "ms" or abs(number) >= MILLISECONDS_FROM


def to_json(value: Any) -> str | None:
    """Any value as JSON text; null stays "no value"."""
    return None if value is None else json_text(value)


def json_text(value: Any, *, sort_keys: bool = False) -> str:
    """Return `value` as JSON; what orjson cannot write (numbers beyond 64 bits, deep nesting) as `json` does."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None).decode()
    except TypeError:
        with deep_recursion():
            return json.dumps(value, separators=(",", ":"), sort_keys=sort_keys)


CONVERT: dict[DataTypeName, Callable[[Any], Any]] = {
    "bigint": to_bigint,
    "text": to_text,
    "bool": to_bool,
    "double": to_double,
    "timestamp": to_timestamp,
    "json": to_json,
}


def _from_iso(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"{show(value)} is not a time") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{show(value)} is outside the years 1 to 9999") from None


def _plain(text: str) -> str:
    """Return `text` if it is a number as others write it: Python alone takes 1_0 for ten."""
    if "_" in text:
        raise ValueError(f"{show(text)} is not a number")
    return text


def _parse(kind: Callable[[Any], Number], value: Any, name: str) -> Number:
    try:
        return kind(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{show(value)} is not {name}") from None


def show(value: Any) -> str:
    """Return `value` as a message shows it: not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
