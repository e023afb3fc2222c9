"""Records as Arrow batches of the declared schema, plus one column of JSON text per undeclared field."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_assets.extract.arrow_fields import arrow_field, undeclared_field
from crm_assets.extract.field_columns import FieldColumns
from crm_assets.extract.json_columns import Values, json_array, kinds_of, variant_type
from crm_assets.extract.keys import key_text
from crm_assets.models.by_products import REJECTED_COLUMNS
from crm_assets.models.columns import OTHER_FIELDS, Column, column_name, variant_column
from crm_assets.models.kinds import Kind
from crm_assets.models.record import DataType
from crm_assets.models.values import (
    FIRST_SECOND,
    LAST_SECOND,
    MILLISECONDS_FROM,
    DataTypeName,
    TimeUnit,
    json_text,
    show,
)

_JSON_TYPES: dict[type, str] = {
    int: "number",
    float: "number",
    str: "string",
    bool: "boolean",
    dict: "object",
    list: "array",
}
_UTC = pa.timestamp("us", "UTC")
_FIRST_MILLISECOND, _LAST_MILLISECOND = FIRST_SECOND * 1000, LAST_SECOND * 1000


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be a row: where it belongs, why it cannot, and the record itself."""

    resource: str
    record_id: str | None
    reason: str
    record: str
    """The whole record, as JSON."""


REJECTED_SCHEMA = pa.schema([(column.name, pa.string()) for column in REJECTED_COLUMNS])
"""The columns of the records that cannot be rows."""


def rejected_batch(rejected: Sequence[Rejected]) -> pa.RecordBatch:
    """Return `rejected` as one batch of `REJECTED_SCHEMA`."""
    return pa.RecordBatch.from_pylist([asdict(record) for record in rejected], schema=REJECTED_SCHEMA)


class Batcher:
    """Turns the records of one listing into Arrow batches.

    A declared column takes the field of its own name. In a record without that, it takes one whose name becomes the
    column's in snake case, which otherwise has a column of its own. Each field that no model declares has one; see
    `FieldColumns`.

    A value that a declared column does not hold goes to its variant column for the type of the value, and the
    column is NULL. Only a record without a usable value in a required column, or in one of the key, is no row.

    The undeclared columns of earlier batches stay in later ones, so that schemas only ever grow, up to
    a limit: the undeclared fields beyond it share one column.

    Args:
        resource: name of the resource.
        columns: its declared columns.
        fields: the columns of the fields that no model declares, of which new ones come here.
        key: the columns of the primary key. A record without a value for each of them cannot be a row.
        undeclared: what `undeclared` said of batches made before, by another one.
        types: what its `types` said.

    Attributes:
        unreadable_rows: how many of the records that cannot be rows do not say which row would be theirs.
    """

    def __init__(
        self,
        resource: str,
        columns: Sequence[Column],
        fields: FieldColumns | None = None,
        *,
        key: Sequence[str] = (),
        undeclared: Mapping[str, Iterable[Kind]] | None = None,
        types: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._resource = resource
        self._declared = {column.name: column for column in columns}
        self._required = {column.name for column in columns if not column.nullable} | set(key)
        self._key = key
        own = {column.field: column.name for column in columns}
        self._own = {name: name for name in key if name not in self._declared} | own
        self._alike = {_letters(name): name for name in self._own.values()}
        self._fields = fields or FieldColumns(self._own.values())
        self._undeclared: dict[str, set[Kind]] = {name: set() for name in key if name not in self._declared}
        self._undeclared |= {name: set(kinds) for name, kinds in (undeclared or {}).items()}
        self._types: dict[str, set[str]] = {field: set(kinds) for field, kinds in (types or {}).items()}
        self.unreadable_rows = 0

    @property
    def undeclared(self) -> dict[str, list[Kind]]:
        """The undeclared columns so far, in their order, each with the kinds of its values; none for no value."""
        return {name: sorted(kinds) for name, kinds in self._undeclared.items()}

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the fields that no model declares."""
        return self._fields.columns

    @property
    def types(self) -> dict[str, list[str]]:
        """The JSON types that each field with a column has had so far; none for one that was always null."""
        return {field: sorted(kinds) for field, kinds in self._types.items()}

    def batch(self, records: Sequence[Any]) -> tuple[pa.RecordBatch, list[Rejected]]:
        """Return `records` as one batch, without those that cannot be rows, and the latter."""
        rejected = [self._reject(record, "is not a JSON object") for record in records if not isinstance(record, dict)]
        self.unreadable_rows += len(rejected) if self._key else 0
        rows: list[dict[str, Any]] = [record for record in records if isinstance(record, dict)]
        values = self._by_column(rows)
        if faults := self._faults(values, len(rows)):
            rejected += [self._reject(rows[index], reason) for index, reason in sorted(faults.items())]
            rows = [row for index, row in enumerate(rows) if index not in faults]
            values = self._by_column(rows)
        return self._assemble(self._arrays(values, len(rows))), rejected

    def _faults(self, values: Mapping[str, Values], count: int) -> dict[int, str]:
        """Return why rows cannot be told from others, by their places: a required column has no usable value."""
        faults: dict[int, str] = {}
        unreadable: set[int] = set()
        for name in self._required:
            found = values.get(name, [None] * count)
            column = self._declared.get(name)
            own = _faults_of_key(name, found) if column is None else _faults(column, found)
            faults = own | faults
            if name in self._key:
                unreadable |= own.keys()
        self.unreadable_rows += len(unreadable)
        return faults

    def _arrays(self, values: dict[str, Values], count: int) -> dict[str, pa.Array]:
        arrays: dict[str, pa.Array] = {}
        for name, column in self._declared.items():
            arrays[name], others = _declared_array(column, values.pop(name, None), count)
            for index, value in others.items():
                kind = variant_type(value)
                values.setdefault(variant_column(name, kind), [None] * count)[index] = value
        for name in dict.fromkeys([*self._undeclared, *values]):
            kinds = self._undeclared.setdefault(name, set())
            found = values.get(name)
            arrays[name] = pa.nulls(count, pa.string()) if found is None else json_array(found)
            kinds |= kinds_of(found or [], kinds)
        return arrays

    def _by_column(self, rows: list[dict[str, Any]]) -> dict[str, Values]:
        declared: dict[str, list[str]] = {}
        others: list[str] = []
        for field in dict.fromkeys(chain.from_iterable(rows)):
            name = self._declared_as(field)
            others.append(field) if name is None else declared.setdefault(name, []).append(field)
        values: dict[str, Values] = {}
        second: dict[str, Values] = {}
        for name, fields in declared.items():
            values[name], left = self._shared(name, fields, rows)
            second |= left
        self._fields.add([*others, *second])
        for field in [*others, *second]:
            if field in self.columns:
                values[self.columns[field]] = second[field] if field in second else self._sent(field, rows)
        if without := {field for field in [*others, *second] if field not in self.columns}:
            values[OTHER_FIELDS] = [
                {field: row[field] for field in row.keys() & without if row[field] is not None} or None
                for row in (_with(rows, second) if second.keys() & without else rows)
            ]
        return values

    def _declared_as(self, field: str) -> str | None:
        """Return the declared column, or that of the key, which takes `field` if nothing better comes."""
        if (name := self._own.get(field)) is not None:
            return name
        name = self._alike.get(_letters(field))
        return name if name is not None and column_name(field) == name else None

    def _sent(self, field: str, rows: list[dict[str, Any]]) -> Values:
        values = [row.get(field) for row in rows]
        kinds = {_JSON_TYPES[kind] for kind in set(map(type, values)) if kind is not NoneType}
        self._types.setdefault(field, set()).update(kinds)
        return values

    def _shared(self, name: str, fields: list[str], rows: list[dict[str, Any]]) -> tuple[Values, dict[str, Values]]:
        """Return what the column `name` takes of `fields`, of each record the best one, and what is left of others."""
        sent = {field: self._sent(field, rows) for field in fields}
        if len(fields) == 1:
            return sent[fields[0]], {}
        best, *others = sorted(fields, key=lambda field: (self._own.get(field) != name, field))
        taken = [next(field for field in (best, *others) if field in row or field == others[-1]) for row in rows]
        left = {
            field: [None if field == mine else value for mine, value in zip(taken, sent[field], strict=True)]
            for field in others
        }
        values = [sent[field][index] for index, field in enumerate(taken)]
        return values, {field: found for field, found in left.items() if any(one is not None for one in found)}

    def _assemble(self, arrays: dict[str, pa.Array]) -> pa.RecordBatch:
        nullable = pa.schema(
            [arrow_field(column).with_nullable(True) for column in self._declared.values()]
            + [undeclared_field(name) for name in self._undeclared]
        )
        return pa.RecordBatch.from_arrays([arrays[field.name] for field in nullable], schema=nullable)

    def _reject(self, record: Any, reason: str) -> Rejected:
        return Rejected(self._resource, self._record_id(record), reason, json_text(record))

    def _record_id(self, record: Any) -> str | None:
        """Return the key of `record` as text, each value as the table would have it, or else as it came."""
        if not isinstance(record, dict):
            return None
        fields = sorted(record, key=lambda field: field in self._own)  # the better one last
        sent = {self._declared_as(field): record[field] for field in fields}
        return key_text({name: _identifier(self._declared.get(name), sent.get(name)) for name in self._key})


def _with(rows: list[dict[str, Any]], fields: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return `rows` with the values of `fields`, which are by row, in the place of their own."""
    return [{**row, **{field: found[index] for field, found in fields.items()}} for index, row in enumerate(rows)]


def _letters(name: str) -> str:
    """Return what all spellings of `name` have in common."""
    return "".join(filter(str.isalnum, name)).lower()


def _identifier(column: Column | None, value: Any) -> str | None:
    """Return a value of the key as the table would write it, or else as it came."""
    if value is None:
        return None
    try:
        converted = column.data_type.convert(value) if column else value
    except ValueError:
        converted = value
    found = value if converted is None else converted
    return json_text(found) if isinstance(found, bool | dict | list) else str(found)


def _faults(column: Column, values: Values) -> dict[int, str]:
    """Return what is wrong with those of `values` that are no value of a required `column`."""
    array, _ = _declared_array(column, values, len(values))
    places: list[int] = pc.indices_nonzero(array.is_null()).to_pylist()
    return {index: _fault(column, values[index]) for index in places}


def _fault(column: Column, value: Any) -> str:
    try:
        _ = None if value is None else column.data_type.convert(value)
    except ValueError as error:
        return f"{column.field}: {error}"
    return f"{column.field} is missing"


def _faults_of_key(name: str, values: Values) -> dict[int, str]:
    """Return what is wrong with those of `values` that tell no record from another."""
    missing = {
        index: f"{name} is missing"
        for index, value in enumerate(values)
        if value is None or (isinstance(value, str) and not value.strip())
    }
    nested = {
        index: f"{name}: {show(value)} is nested, and tells no record from another"
        for index, value in enumerate(values)
        if isinstance(value, dict | list)
    }
    return missing | nested


def _declared_array(column: Column, values: Values | None, count: int) -> tuple[pa.Array, dict[int, Any]]:
    """Return the values that `column` holds, and those that it does not hold by their places."""
    data_type = arrow_field(column).type
    if values is None:
        return pa.nulls(count, data_type), {}
    array = _whole(column.data_type, values)
    if array is not None:
        return array, {}
    clean = _CLEAN[column.data_type.name]
    array = _whole(column.data_type, [value if type(value) in clean else None for value in values])
    # Where even the clean ones cannot be taken as they are, each value is converted by itself.
    unclean = {index: value for index, value in enumerate(values) if array is None or type(value) not in clean}
    held, others = _converted(column, unclean)
    if array is None:
        return pa.array([held.get(index) for index in range(count)], data_type), others
    is_held = pa.array([index in held for index in range(count)])
    return pc.replace_with_mask(array, is_held, pa.array(list(held.values()), data_type)), others


def _converted(column: Column, values: Mapping[int, Any]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return by place what `column` holds of `values`, and those that it does not hold."""
    convert = column.data_type.convert
    held: dict[int, Any] = {}
    others: dict[int, Any] = {}
    for index, value in values.items():
        try:
            held[index] = None if value is None else convert(value)
        except ValueError:
            others[index] = value
    return held, others


def _whole(data_type: DataType, values: Values) -> pa.Array | None:
    """Return all values as one array if each is as clean as its type wants it, else None."""
    if data_type.name == "json":
        return json_array(values)
    if not set(map(type, values)) <= _CLEAN[data_type.name]:
        return None
    try:
        return (
            _timestamps(values, data_type.unit)
            if data_type.name == "timestamp"
            else _FROM_CLEAN[data_type.name](values)
        )
    except (pa.ArrowInvalid, OverflowError):
        return None


def _doubles(values: Values) -> pa.Array | None:
    array = pa.array(values, pa.float64())
    return array if pc.all(pc.is_finite(array), min_count=0).as_py() else None


def _timestamps(values: Values, unit: TimeUnit | None) -> pa.Array | None:
    array = pa.array(values, pa.int64())
    extremes = pc.min_max(array).as_py()
    if extremes["min"] is None:
        return array.cast(_UTC)
    if not _FIRST_MILLISECOND <= extremes["min"] <= extremes["max"] <= _LAST_MILLISECOND:
        return None
    microseconds = pc.multiply(array, pc.if_else(_in_milliseconds(array, unit), 1_000, 1_000_000))
    return pc.if_else(pc.equal(array, 0), None, microseconds).cast(_UTC)


def _in_milliseconds(array: pa.Array, unit: TimeUnit | None) -> pa.Array | pa.Scalar:
    """Return of each number what `is_in_milliseconds` says of it."""
    match unit:
        case "s":
            return pc.or_(pc.less(array, FIRST_SECOND), pc.greater(array, LAST_SECOND))
        case "ms":
            return pa.scalar(True)
        case None:
            return pc.greater_equal(pc.abs(array), MILLISECONDS_FROM)


_CLEAN: dict[DataTypeName, set[type]] = {
    "bigint": {int, NoneType},
    "text": {str, NoneType},
    "bool": {bool, NoneType},
    "double": {int, float, NoneType},
    "timestamp": {int, NoneType},
}
"""The types of the values that need no conversion one by one."""

_FROM_CLEAN: dict[DataTypeName, Callable[[Values], pa.Array | None]] = {
    "bigint": partial(pa.array, type=pa.int64()),
    "text": partial(pa.array, type=pa.string()),
    "bool": partial(pa.array, type=pa.bool_()),
    "double": _doubles,
}
