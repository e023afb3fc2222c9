"""Fields that are too many for a column each share one, as a JSON object: what goes into it, and comes out again."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pyarrow as pa

from crm_assets.extract.json_columns import json_array, kinds_of
from crm_assets.extract.json_decoder import parse
from crm_assets.models.columns import OTHER_FIELDS
from crm_assets.models.kinds import Kind


def kinds_of_fields(batches: Iterable[pa.RecordBatch], wanted: AbstractSet[str]) -> dict[str, set[Kind]]:
    """Return those of the fields `wanted` that share a column in `batches`, each with the kinds of its values."""
    found: dict[str, set[Kind]] = {}
    for batch in batches:
        for one in _objects(batch):
            for field in one.keys() & wanted:
                found.setdefault(field, set()).update(kinds_of([one[field]]))
    return found


def exchanged(
    batch: pa.RecordBatch, renamed: Mapping[str, str], out: Mapping[str, str], into: Mapping[str, str]
) -> pa.RecordBatch:
    """Return `batch` with some fields that shared a column in one of their own, and others the other way round.

    Args:
        batch: undeclared columns are JSON text.
        renamed: new names of columns that stay.
        out: the columns of the fields that get one.
        into: the fields of the columns that go.
    """
    going = {field: _values(batch[name]) for name, field in into.items() if name in batch.schema.names}
    staying = [name for name in batch.schema.names if name not in into and name != OTHER_FIELDS]
    arrays = {renamed.get(name, name): batch[name] for name in staying}
    coming: dict[str, list[Any]] = {}
    shared: list[dict[str, Any] | None] = []
    for index, found in enumerate(_objects(batch)):
        sent = {field: values[index] for field, values in going.items() if values[index] is not None}
        for field in found.keys() & out.keys():
            coming.setdefault(out[field], [None] * batch.num_rows)[index] = found[field]
        left = {field: value for field, value in found.items() if field not in out}
        shared.append({**left, **sent} or None)
    arrays |= {name: json_array(values) for name, values in coming.items()}
    if any(shared):
        arrays[OTHER_FIELDS] = json_array(shared)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _objects(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return what each row has in the shared column."""
    if OTHER_FIELDS not in batch.schema.names:
        return [{} for _ in range(batch.num_rows)]
    return [value or {} for value in _values(batch[OTHER_FIELDS])]


def _values(texts: pa.Array) -> list[Any]:
    return [None if text is None else parse(text.encode()) for text in texts.to_pylist()]
