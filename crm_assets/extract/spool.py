"""Listings waiting on local disk until they are complete, so that memory does not grow with the CRM."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from crm_assets.extract.arrow_fields import arrow_field, undeclared_field
from crm_assets.extract.batches import REJECTED_SCHEMA, Batcher, rejected_batch
from crm_assets.extract.collected import merged
from crm_assets.extract.connection import Traffic
from crm_assets.extract.field_columns import FieldColumns
from crm_assets.extract.json_columns import column_type, typed_arrays, typed_columns
from crm_assets.extract.json_decoder import parse
from crm_assets.extract.keys import all_keys, key_values, keys_of_texts
from crm_assets.extract.other_fields import exchanged, kinds_of_fields
from crm_assets.models.columns import OTHER_FIELDS, Column, is_reserved, variant_of
from crm_assets.models.kinds import Kind, holds, least_type
from crm_assets.models.values import DataTypeName, to_bigint, to_timestamp

_IPC = pa.ipc.IpcWriteOptions(compression="lz4")
_TABLE_BYTES = 8 << 20
COUNT = "count"
"""The field in which the CRM says, on the first record of some listings, how many there are."""
_CHANGED = "updated_time"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Spooled:
    """One complete listing on disk."""

    resource: str
    columns: tuple[Column, ...]
    """The declared columns."""
    key: tuple[str, ...]
    """The columns of the primary key; none if records are not told apart."""
    undeclared: Mapping[str, Sequence[Kind]]
    """The columns that no model declares, each with the kinds of its values; none for one that was always null."""
    types: Mapping[str, DataTypeName]
    """The types of the undeclared columns that get into the table, and of the variants of columns."""
    parts: tuple[Path, ...]
    rows: int
    rejected: tuple[Path, ...]
    rejected_rows: int
    unreadable_rows: int
    """How many of the records that cannot be rows do not say which row would be theirs."""
    fields: dict[str, list[str]]
    """The JSON types in which each field of the CRM came."""
    columns_of_fields: Mapping[str, str]
    """The columns of the fields that no model declares."""
    new_columns: int
    """How many columns such fields may have."""
    total: int | None = None
    """How many records the CRM says that there are; None if it says nothing."""
    collected: tuple[str, ...] = ()
    """The columns that hold lists of the parents under which a record was found."""
    may_repeat: bool = False
    """Whether a record may be listed several times without anything being wrong."""

    superseded: frozenset[int] = frozenset()
    """Places of rows whose record came again, in a version that is newer or was listed later."""
    repeated_ids: tuple[int | str, ...] = ()
    """Keys (see `key_values`) that came more than once although nothing says that the record was changed meanwhile."""
    moved_ids: tuple[int | str, ...] = ()
    """Keys that came more than once, each time changed since: the record moved while the listing was read."""
    lists: Mapping[int, Mapping[str, str | None]] = field(default_factory=dict)
    """Lists of parents in whose place others come: by the place of the row, and by column, as JSON."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Columns that are called otherwise in the table than on disk."""
    with_column: Mapping[str, str] = field(default_factory=dict)
    """The columns of fields that share one on disk."""
    without_column: Mapping[str, str] = field(default_factory=dict)
    """The fields of the columns on disk that get none in the table, for there are too many: they share one."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of its tables."""
        declared = [arrow_field(column).with_nullable(True) for column in self.columns]
        return pa.schema([*declared, *(undeclared_field(name, kind) for name, kind in self.types.items())])

    def typed(self, known: Mapping[str, DataTypeName], fields: Mapping[str, str] = MappingProxyType({})) -> "Spooled":
        """Return the listing with a column for each field, as far as the limit goes, and a type for each column.

        A field that has a column in the table keeps it, and a column its type; what does not fit goes to variant
        columns. Any other gets the least type that holds all its values, and none gets in that has no value. A column
        of the key has no variants: it gets the type that holds all its values if its own does not.

        Args:
            known: types of columns that the table has.
            fields: the columns of the fields that no model declares, as far as the table is known to have them.
        """
        named = self._named(known, fields)
        types: dict[str, DataTypeName] = {}
        for name, kinds in named.undeclared.items():
            found = column_type(name, kinds, known)
            if found is None and name in self.key:
                found = "text"  # no record has come yet, and text holds whatever comes
            if found is not None:
                types[name] = found
        for name in [name for name, found in types.items() if not holds(found, named.undeclared[name])]:
            variants = named._variants(name, types[name])
            if variants and name in self.key:
                types[name] = least_type(named.undeclared[name]) or types[name]
            else:
                types |= variants
        return replace(named, types=types)

    def _named(self, known: Collection[str], fields: Mapping[str, str]) -> "Spooled":
        """Return the listing with the columns that its fields have, or get, in a table with the columns `known`."""
        taken = {*self.key, *(column.name for column in self.columns)}
        existing = {name for name in known if name not in taken and not variant_of(name) and not is_reserved(name)}
        given = FieldColumns(taken, fields, existing, max(0, self.new_columns - len(existing)))
        given.add(self.columns_of_fields)
        has_shared = existing and OTHER_FIELDS in self.undeclared
        # Whoever shares a column gets one of its own only if the table has it: the listing has filled the limit.
        shared = kinds_of_fields(_stored_in(self.parts), {*fields, *existing}) if has_shared else {}
        given.add(shared)
        renamed = {
            name: given.columns[field] for field, name in self.columns_of_fields.items() if field in given.columns
        }
        without = {name: field for field, name in self.columns_of_fields.items() if field not in given.columns}
        out = {field: given.columns[field] for field in shared if field in given.columns}
        undeclared: dict[str, Sequence[Kind]] = {
            renamed.get(name, name): kinds for name, kinds in self.undeclared.items() if name not in without
        }
        undeclared |= {name: sorted(shared[field]) for field, name in out.items()}
        if without:
            undeclared[OTHER_FIELDS] = ["json"]
        return replace(
            self,
            undeclared=undeclared,
            columns_of_fields=given.columns,
            renamed={name: column for name, column in renamed.items() if name != column},
            with_column=out,
            without_column=without,
        )

    def _variants(self, name: str, data_type: DataTypeName) -> dict[str, DataTypeName]:
        """Return the variant columns that it takes for the column `name` to be of `data_type`, with their types."""
        columns = {
            column
            for batch in self._stored()
            if name in batch.schema.names
            for column in typed_columns(name, batch[name], data_type)
        }
        return {column: variant[1] for column in sorted(columns - {name}) if (variant := variant_of(column))}

    def newest(self) -> "Spooled":
        """Return the listing with each record once: in its newest version, or else the one listed last."""
        if not self.key:
            return self
        keys = self.keys()
        keys = keys.take(pc.array_sort_indices(keys))  # a third of the memory of counting them in a hash table
        repeated = keys[1:].filter(pc.equal(keys[1:], keys[:-1]))
        if not len(repeated):
            return self
        copies: dict[int | str, list[_Copy]] = {}
        for key, copy in self._copies(repeated):
            copies.setdefault(key, []).append(copy)
        for found in copies.values():
            found.sort()
        moved = {one for one, found in copies.items() if len({copy.changed for copy in found}) == len(found)}
        superseded = frozenset(copy.place for found in copies.values() for copy in found[:-1])
        lists = {found[-1].place: _merged(self.collected, found) for found in copies.values()} if self.collected else {}
        return replace(
            self,
            rows=self.rows - len(superseded),
            superseded=superseded,
            repeated_ids=() if self.may_repeat else tuple(one for one in copies if one not in moved),
            moved_ids=() if self.may_repeat else tuple(moved),
            lists=lists,
        )

    def _copies(self, repeated: pa.Array) -> Iterator[tuple[int | str, "_Copy"]]:
        """Yield the rows whose key is in `repeated`, each with the key."""
        place = 0
        for batch in self._batches(*self.key, _CHANGED, *self.collected):
            keys = key_values(batch, self.key)
            says_when = _CHANGED in batch.schema.names
            for index in pc.indices_nonzero(pc.is_in(keys, repeated)).to_pylist():
                changed = _moment(batch[_CHANGED][index].as_py()) if says_when else None
                lists = tuple(batch[name][index].as_py() for name in self.collected)
                yield keys[index].as_py(), _Copy(changed or _NEVER, place + index, lists)
            place += batch.num_rows

    def with_known_lists(self, known: Mapping[int | str, Sequence[str | None]]) -> "Spooled":
        """Return the listing whose lists of parents have what is known of them, too.

        Args:
            known: by key, what the columns of `collected` hold, as JSON.
        """
        lists, place = dict(self.lists), 0
        for batch in self._batches(*self.key, *self.collected):
            for index, key in enumerate(key_values(batch, self.key).to_pylist()):
                if key in known and place + index not in self.superseded:
                    own = lists.get(place + index) or {name: batch[name][index].as_py() for name in self.collected}
                    both = zip(self.collected, known[key], strict=True)
                    lists[place + index] = {name: merged([text, own[name]]) for name, text in both}
            place += batch.num_rows
        return replace(self, lists=lists)

    def keys(self) -> pa.Array:
        """Return the keys of all rows, one value each; see `key_values`."""
        return all_keys(self._batches(*self.key), self.schema, self.key)

    def without_rows(self) -> "Spooled":
        """Return the listing without its rows, with the same columns and rejected records."""
        return replace(self, parts=(), rows=0)

    def reported_count(self) -> int | None:
        """Return how many records the CRM says it has: with each page, or on the first record."""
        if self.total is not None:
            return self.total
        if not any(column.name == COUNT and column.data_type.name == "bigint" for column in self.columns):
            return None
        first = next(self._batches(COUNT), None)
        found: int | None = None if first is None else pc.max(first[COUNT]).as_py()
        return self._count_of_rejected() if found is None else found

    def _count_of_rejected(self) -> int | None:
        """Return what the first record says that cannot be a row, if it says how many there are."""
        texts = next(self.rejected_tables())["record"]
        record = parse(texts[0].as_py().encode()) if len(texts) else None
        try:
            return to_bigint(record[COUNT]) if isinstance(record, dict) and record.get(COUNT) is not None else None
        except ValueError:
            return None

    def rejected_keys(self) -> pa.Array:
        """Return the keys of the records that cannot be rows, where they can be the key of a row."""
        texts = (text for table in self.rejected_tables() for text in table["record_id"].to_pylist())
        return keys_of_texts(texts, self.schema, self.key)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as tables of one schema, tens of megabytes each; one empty table for no rows."""
        yield from _tables(_with_lists(self._batches(), self.lists), self.schema, self.superseded)

    def rejected_tables(self) -> Iterator[pa.Table]:
        """Yield the records that cannot be rows: resource, record_id, reason, record."""
        yield from _tables(_stored_in(self.rejected), REJECTED_SCHEMA)

    def _batches(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yield the columns `names` as they get into the table, all of them for no names."""
        schema = pa.schema([field for field in self.schema if not names or field.name in names])
        types = {name: kind for name, kind in self.types.items() if name in schema.names}
        declared = set(schema.names) - types.keys()
        for batch in self._stored():
            arrays = typed_arrays(batch, types, declared)
            whole = [
                pa.nulls(batch.num_rows, field.type) if field.name not in arrays else arrays[field.name]
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(whole, schema=schema)

    def _stored(self) -> Iterator[pa.RecordBatch]:
        """Yield what is on disk, its columns called as in the table."""
        for batch in _stored_in(self.parts):
            if self.with_column or self.without_column:
                yield exchanged(batch, self.renamed, self.with_column, self.without_column)
            elif self.renamed:
                yield batch.rename_columns([self.renamed.get(name, name) for name in batch.schema.names])
            else:
                yield batch


def _moment(value: Any) -> datetime | None:
    """Return the time that `value` of a column is, of whatever type the column is; None if it is none."""
    try:
        return None if value is None else to_timestamp(value)
    except ValueError:
        return None


class _Copy(NamedTuple):
    """A row whose record came more than once: when it last changed, its place, and its lists of parents as JSON."""

    changed: datetime
    place: int
    lists: tuple[str | None, ...]


def _merged(columns: Sequence[str], copies: Sequence[_Copy]) -> dict[str, str | None]:
    return {name: merged(copy.lists[number] for copy in copies) for number, name in enumerate(columns)}


def _with_lists(
    batches: Iterator[pa.RecordBatch], lists: Mapping[int, Mapping[str, str | None]]
) -> Iterator[pa.RecordBatch]:
    """Yield `batches` with the values of `lists`, which are by the place of the row and the column."""
    place = 0
    for batch in batches:
        places = range(place, place + batch.num_rows)
        place += batch.num_rows
        mine = {index: lists[one] for index, one in enumerate(places) if one in lists} if lists else {}
        yield _replaced(batch, mine) if mine else batch


def _replaced(batch: pa.RecordBatch, lists: Mapping[int, Mapping[str, str | None]]) -> pa.RecordBatch:
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name in next(iter(lists.values())):
        values = arrays[name].to_pylist()
        for index, one in lists.items():
            values[index] = one[name]
        arrays[name] = pa.array(values, arrays[name].type)
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=batch.schema)


@dataclass(frozen=True)
class SpoolState:
    """What is on disk of a listing that is still being read: enough to resume it in another process."""

    parts: tuple[str, ...]
    """Names of the files, in the order of the rows."""
    rejected: tuple[str, ...]
    rows: int
    rejected_rows: int
    unreadable_rows: int
    undeclared: dict[str, list[Kind]]
    fields: dict[str, list[str]]
    columns_of_fields: dict[str, str]


def is_whole(folder: Path, written: SpoolState) -> bool:
    """Return whether the files in `folder` hold all that `written` says: a lost machine leaves cut and empty ones."""
    try:
        rows, rejected = (
            sum(batch.num_rows for name in names for batch in _stored(folder / name))
            for names in (written.parts, written.rejected)
        )
    except (OSError, pa.ArrowException):
        return False
    return (rows, rejected) == (written.rows, written.rejected_rows)


class ListingSpool:
    """Writes one listing to disk, batch by batch.

    Args:
        directory: where the files go; they begin with the resource's name.
        resource: name of the resource.
        columns: its declared columns.
        key: the columns of its primary key.
        new_columns: how many undeclared fields get a column each.
        collected: columns that hold lists of the parents under which a record was found.
        may_repeat: whether a record may be listed several times without anything being wrong.
        traffic: where the time is counted that it takes to convert and to write.
        written: what is in `directory` already, when a listing is resumed.
    """

    def __init__(
        self,
        directory: Path,
        resource: str,
        columns: tuple[Column, ...],
        *,
        key: tuple[str, ...] = ("id",),
        new_columns: int = 200,
        collected: tuple[str, ...] = (),
        may_repeat: bool = False,
        traffic: Traffic | None = None,
        written: SpoolState | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._resource = resource
        self._columns = columns
        self._key = key
        self._collected = collected
        self._may_repeat = may_repeat
        self._rows = _Parts(directory, f"{resource}.rows")
        self._rejected = _Parts(directory, f"{resource}.rejected")
        self._new_columns = new_columns
        given = written.columns_of_fields if written else {}
        taken = {*key, *(column.name for column in columns)}
        fields = FieldColumns(taken, given, room=new_columns - len(given))
        if written is None:
            self._batcher = Batcher(resource, columns, fields, key=key)
            return
        self._batcher = Batcher(resource, columns, fields, key=key, undeclared=written.undeclared, types=written.fields)
        self._batcher.unreadable_rows = written.unreadable_rows
        self._rows.resume(written.parts, written.rows)
        self._rejected.resume(written.rejected, written.rejected_rows)

    @property
    def rejected_rows(self) -> int:
        """How many records could not be rows so far."""
        return self._rejected.rows

    def add(self, records: list[Any]) -> None:
        """Append `records`."""
        with self._traffic.timed("converting"):
            batch, rejected = self._batcher.batch(records)
        with self._traffic.timed("spooling"):
            self._rows.write(batch)
            if rejected:
                self._rejected.write(rejected_batch(rejected))

    def state(self) -> SpoolState:
        """Close the files so far and return what is in them."""
        self._rows.close()
        self._rejected.close()
        return SpoolState(
            parts=tuple(path.name for path in self._rows.paths),
            rejected=tuple(path.name for path in self._rejected.paths),
            rows=self._rows.rows,
            rejected_rows=self._rejected.rows,
            unreadable_rows=self._batcher.unreadable_rows,
            undeclared=self._batcher.undeclared,
            fields=self._batcher.types,
            columns_of_fields=self._batcher.columns,
        )

    def complete(self, total: int | None = None) -> Spooled:
        """Close the files and return the listing, of which the CRM says that it has `total` records.

        Its undeclared columns are JSON until they are typed.
        """
        self._rows.close()
        self._rejected.close()
        return Spooled(
            resource=self._resource,
            columns=self._columns,
            key=self._key,
            undeclared=self._batcher.undeclared,
            types=dict.fromkeys(self._batcher.undeclared, "json"),
            parts=tuple(self._rows.paths),
            rows=self._rows.rows,
            rejected=tuple(self._rejected.paths),
            rejected_rows=self._rejected.rows,
            unreadable_rows=self._batcher.unreadable_rows,
            fields=self._batcher.types,
            columns_of_fields=self._batcher.columns,
            new_columns=self._new_columns,
            total=total,
            collected=self._collected,
            may_repeat=self._may_repeat,
        )


class _Parts:
    """Files of Arrow batches; a new file begins where the schema grows."""

    def __init__(self, directory: Path, stem: str) -> None:
        self._directory = directory
        self._stem = stem
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self.paths: list[Path] = []
        self.rows = 0

    def resume(self, names: Sequence[str], rows: int) -> None:
        self.paths = [self._directory / name for name in names]
        self.rows = rows

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None or batch.schema != self._schema:
            self.close()
            path = self._directory / f"{self._stem}.{len(self.paths)}.arrows"
            self._writer = pa.ipc.new_stream(path, batch.schema, options=_IPC)
            self.paths.append(path)
            self._schema = batch.schema
        with _naming(self.paths[-1]):
            self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        if self._writer is not None:
            with _naming(self.paths[-1]):
                self._writer.close()
            self._writer = None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system name the file: Arrow's do not."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _tables(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, without: frozenset[int] = frozenset()
) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    is_empty, size, place = True, 0, 0
    for batch in batches:
        mine = [index for index in range(batch.num_rows) if place + index not in without] if without else None
        place += batch.num_rows
        waiting.append(batch if mine is None else batch.take(pa.array(mine, pa.int64())))
        size += batch.nbytes
        is_empty = False
        if size >= _TABLE_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting or is_empty:
        yield pa.Table.from_batches(waiting, schema)


def _stored_in(parts: tuple[Path, ...]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from _stored(part)


def _stored(part: Path) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(part) as reader:
        yield from reader
