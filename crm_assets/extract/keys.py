"""The key of a row as one value, so that rows can be compared whatever their key is made of."""

import re
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

_TEXT = pa.large_string()
"""Arrow's usual text ends at 2 GB, all keys of a listing together."""
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_INT64 = range(-(2**63), 2**63)


def key_values(batch: pa.RecordBatch, key: Sequence[str]) -> pa.Array:
    """Return one value for each row of `batch`, the same for the same key and for no other.

    The key of one bigint column stays a number, any other becomes text: that of several columns `a=1, b=x`, with
    a backslash before each comma and backslash of a value. NULL where a part of the key is.
    """
    if _is_number(batch.schema, key):
        return batch[key[0]]
    texts = [_texts(batch[name]) for name in key]
    if len(key) == 1:
        return texts[0]
    escaped = (pc.replace_substring_regex(text, r"([\\,])", r"\\\1") for text in texts)
    parts = [
        pc.binary_join_element_wise(_scalar(f"{name}="), text, _scalar(""))
        for name, text in zip(key, escaped, strict=True)
    ]
    return pc.binary_join_element_wise(*parts, _scalar(", "))


def all_keys(batches: Iterable[pa.RecordBatch], schema: pa.Schema, key: Sequence[str]) -> pa.Array:
    """Return the `key_values` of all `batches` of `schema` together."""
    kind = pa.int64() if _is_number(schema, key) else _TEXT
    return pa.chunked_array([key_values(batch, key) for batch in batches], kind).combine_chunks()


def keys_of_texts(texts: Iterable[str | None], schema: pa.Schema, key: Sequence[str]) -> pa.Array:
    """Return those of `texts`, each the text of a key, that can be the key of a row of `schema`."""
    if not _is_number(schema, key):
        return pa.array([text for text in texts if text is not None], _TEXT)
    numbers = [int(text) for text in texts if text and _NUMBER.fullmatch(text)]
    return pa.array([number for number in numbers if number in _INT64], pa.int64())


def key_text(values: Mapping[str, str | None]) -> str | None:
    """Return the key of these columns and texts as `key_values` writes it, without those that are None."""
    if len(values) == 1:
        return next(iter(values.values()))
    escaped = {name: re.sub(r"([\\,])", r"\\\1", text) for name, text in values.items() if text is not None}
    return ", ".join(f"{name}={text}" for name, text in escaped.items()) or None


def _is_number(schema: pa.Schema, key: Sequence[str]) -> bool:
    return len(key) == 1 and pa.types.is_int64(schema.field(key[0]).type)


def _texts(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        values = pc.add(values, 0.0)  # -0.0 and 0.0 are one number in SQL
    return values.cast(_TEXT)


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, _TEXT)
