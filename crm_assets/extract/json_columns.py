"""Columns that no model declares: JSON text while they wait on disk, and what they become when their type is known."""

from collections.abc import Callable, Collection, Mapping
from types import NoneType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from crm_assets.extract.arrow_fields import arrow_type
from crm_assets.extract.json_decoder import parse
from crm_assets.models.columns import variant_column, variant_of
from crm_assets.models.kinds import DATE_AND_TIME, DIGITS, Kind, kind_of, least_type
from crm_assets.models.values import CONVERT, FIRST_SECOND, LAST_SECOND, DataTypeName, to_json

Values = list[Any]
_UTC = arrow_type("timestamp")
_DAY = 86_400
_REFUSED = (pa.ArrowInvalid, OverflowError, UnicodeEncodeError, orjson.JSONEncodeError)


def json_array(values: Values) -> pa.Array:
    """Return `values` as JSON text, null where there is none."""
    kinds = set(map(type, values)) - {NoneType}
    try:
        if (write := _WRITERS.get(frozenset(kinds))) and (array := write(values)) is not None:
            return array
    except _REFUSED:
        pass
    return pa.array(map(to_json, values), pa.string(), size=len(values))


def kinds_of(values: Values, known: Collection[Kind] = ()) -> set[Kind]:
    """Return the kinds of `values` that are not null, beside those that are `known` already."""
    found: set[Kind] = set()
    for kind in set(map(type, values)):
        if kind is str:
            found |= _kinds_of_texts(values, known)
        elif kind is int:
            numbers = [value for value in values if type(value) is int]
            found |= {kind_of(min(numbers)), kind_of(max(numbers))}
        elif kind is not NoneType:
            found.add(kind_of(kind()))
    return found


def variant_type(value: Any) -> DataTypeName:
    """Return the data type of the variant column that takes `value`."""
    kind = kind_of(value)
    return "text" if kind in ("timestamp", "digits", "empty") else kind  # type: ignore[return-value] # the other kinds are types


def column_type(name: str, kinds: Collection[Kind], known: Mapping[str, DataTypeName]) -> DataTypeName | None:
    """Return the type of the undeclared column `name`, whose values are of `kinds`; None if it never had a value.

    It is the one that it has in the table already, which is among the `known` ones, or else the least that holds all
    values. A variant column has the type in its name.
    """
    variant = variant_of(name)
    return variant[1] if variant else known.get(name) or least_type(kinds)


def typed_arrays(
    batch: pa.RecordBatch, types: Mapping[str, DataTypeName], declared: Collection[str]
) -> dict[str, pa.Array]:
    """Return the columns of `batch` that are `declared` as they are, and those in `types` with their type."""
    arrays: dict[str, pa.Array] = {}
    for name in batch.schema.names:
        if name in declared:
            arrays[name] = batch[name]
        elif name in types:
            arrays |= typed_columns(name, batch[name], types[name])
    return arrays


def typed_columns(name: str, texts: pa.Array, data_type: DataTypeName) -> dict[str, pa.Array]:
    """Return the column `name`, of JSON `texts`, as `data_type`, and the variant columns of what it does not hold."""
    array = _whole(texts, data_type)
    if array is not None:
        return {name: array}
    values = [None if text is None else parse(text.encode()) for text in texts.to_pylist()]
    held: Values = []
    others: dict[DataTypeName, dict[int, Any]] = {}
    for index, value in enumerate(values):
        try:
            held.append(None if value is None else CONVERT[data_type](value))
        except ValueError:
            held.append(None)
            kind = variant_type(value)
            others.setdefault(kind, {})[index] = CONVERT[kind](value)
    variants = {
        variant_column(name, kind): pa.array([found.get(index) for index in range(len(values))], arrow_type(kind))
        for kind, found in others.items()
    }
    return {name: pa.array(held, arrow_type(data_type)), **variants}


def _kinds_of_texts(values: Values, known: Collection[Kind]) -> set[Kind]:
    texts = [value for value in values if type(value) is str]
    filled = next(filter(None, texts), None)
    if filled is None:
        return {"empty"}
    if "text" in known or kind_of(filled) == "text":
        return {"text"}  # holds the other texts too, whatever they are
    times = [text for text in texts if text]
    array = pa.array(times, pa.string())
    if pc.all(pc.match_substring_regex(array, DIGITS)).as_py():
        return {"digits"}
    if _times(array) is not None:
        return {"timestamp"}
    return {kind_of(text) for text in times}


def _write_numbers(values: Values) -> pa.Array:
    texts = orjson.dumps(values)[1:-1].decode().split(",")
    return pa.array([None if text == "null" else text for text in texts], pa.string())


def _write_texts(values: Values) -> pa.Array | None:
    if b"\\" in orjson.dumps(values):  # something must be escaped
        return None
    return pc.binary_join_element_wise('"', pa.array(values, pa.string()), '"', "")


def _write_nested(values: Values) -> pa.Array:
    return pa.array([None if value is None else orjson.dumps(value) for value in values], pa.string())


_WRITERS: Mapping[frozenset[type], Callable[[Values], pa.Array | None]] = {
    frozenset(): lambda values: pa.nulls(len(values), pa.string()),
    frozenset({int}): lambda values: pa.array(values, pa.int64()).cast(pa.string()),
    frozenset({bool}): lambda values: pa.array(values, pa.bool_()).cast(pa.string()),
    frozenset({float}): _write_numbers,
    frozenset({int, float}): _write_numbers,
    frozenset({str}): _write_texts,
    frozenset({dict}): _write_nested,
    frozenset({list}): _write_nested,
    frozenset({dict, list}): _write_nested,
}
"""What writes all values at once, by their Python types."""


def _whole(texts: pa.Array, data_type: DataTypeName) -> pa.Array | None:
    """Return all `texts` as one array of `data_type` if each is written as that type is, else None."""
    try:
        match data_type:
            case "json":
                return texts
            case "text":
                return _texts(texts)
            case "timestamp":
                return _quoted_times(texts)
            case _:
                return texts.cast(arrow_type(data_type))
    except pa.ArrowInvalid:
        return None


def _texts(texts: pa.Array) -> pa.Array:
    """Return what is quoted without its quotes, and all else as JSON writes it."""
    quoted = pc.starts_with(texts, '"')
    found = pc.if_else(quoted, pc.utf8_slice_codeunits(texts, 1, -1), texts)
    escaped = pc.and_(quoted, pc.match_substring(texts, "\\"))
    if pc.any(escaped).as_py():
        plain = [orjson.loads(text) for text in texts.filter(escaped).to_pylist()]
        found = pc.replace_with_mask(found, escaped.fill_null(False), pa.array(plain, pa.string()))
    return found


def _quoted_times(texts: pa.Array) -> pa.Array | None:
    if not pc.all(pc.starts_with(texts, '"'), min_count=0).as_py():
        return None
    return _times(pc.if_else(pc.equal(texts, '""'), None, pc.utf8_slice_codeunits(texts, 1, -1)))


def _times(texts: pa.Array) -> pa.Array | None:
    """Return `texts` as points in time; None unless each is a date with a time, all with an offset or none."""
    if not pc.all(pc.match_substring_regex(texts, DATE_AND_TIME), min_count=0).as_py():
        return None
    try:
        array = texts.cast(_UTC)
    except pa.ArrowInvalid:
        try:
            array = pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
        except pa.ArrowInvalid:
            return None
    extremes = pc.min_max(array.cast(pa.int64())).as_py()
    if extremes["min"] is None:
        return array
    # With an offset, the last day of the year 0, which Arrow alone knows, may be the first of the year 1.
    first, end = (FIRST_SECOND + _DAY) * 1_000_000, (LAST_SECOND + 1) * 1_000_000
    return array if first <= extremes["min"] <= extremes["max"] < end else None
