"""Listings waiting on local disk until they are complete, so that memory does not grow with the CRM."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_assets.extract.batches import REJECTED_SCHEMA, Batcher, rejected_batch
from crm_assets.extract.keys import all_keys, key_values, keys_of_texts
from crm_assets.models.columns import Column

_IPC = pa.ipc.IpcWriteOptions(compression="lz4")
_TABLE_BYTES = 32 << 20
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
    parts: tuple[Path, ...]
    schema: pa.Schema
    rows: int
    rejected: tuple[Path, ...]
    rejected_rows: int
    fields: dict[str, list[str]]
    """The JSON types in which each field of the CRM came."""

    superseded: frozenset[int] = frozenset()
    """Places of rows whose record came again, in a version that is newer or was listed later."""
    repeated_ids: tuple[int | str, ...] = ()
    """Keys (see `key_values`) that came more than once although nothing says that the record was changed meanwhile."""
    moved_ids: tuple[int | str, ...] = ()
    """Keys that came more than once, each time changed since: the record moved while the listing was read."""

    def newest(self) -> "Spooled":
        """Return the listing with each record once: in its newest version, or else the one listed last."""
        if not self.key:
            return self
        keys = self.keys()
        keys = keys.take(pc.array_sort_indices(keys))  # a third of the memory of counting them in a hash table
        repeated = keys[1:].filter(pc.equal(keys[1:], keys[:-1]))
        if not len(repeated):
            return self
        copies: dict[int | str, list[tuple[datetime, int]]] = {}
        for key, changed, place in self._copies(repeated):
            copies.setdefault(key, []).append((changed, place))
        moved = {one for one, found in copies.items() if len({changed for changed, _ in found}) == len(found)}
        superseded = frozenset(place for found in copies.values() for _, place in sorted(found)[:-1])
        return replace(
            self,
            rows=self.rows - len(superseded),
            superseded=superseded,
            repeated_ids=tuple(one for one in copies if one not in moved),
            moved_ids=tuple(moved),
        )

    def _copies(self, repeated: pa.Array) -> Iterator[tuple[int | str, datetime, int]]:
        """Yield key, time of the last change and place of the rows whose key is in `repeated`."""
        place = 0
        for batch in _batches(self.parts, self.schema):
            keys = key_values(batch, self.key)
            for index in pc.indices_nonzero(pc.is_in(keys, repeated)).to_pylist():
                changed = batch[_CHANGED][index].as_py() if _CHANGED in batch.schema.names else None
                yield keys[index].as_py(), changed or _NEVER, place + index
            place += batch.num_rows

    def keys(self) -> pa.Array:
        """Return the keys of all rows, one value each; see `key_values`."""
        return all_keys(_batches(self.parts, self.schema), self.schema, self.key)

    def without_rows(self) -> "Spooled":
        """Return the listing without its rows, with the same columns and rejected records."""
        return replace(self, parts=(), rows=0)

    def reported_count(self) -> int | None:
        """Return how many records the CRM says it has: some listings say so on their first one."""
        first = next(_batches(self.parts, self.schema), None)
        if first is None or first.schema.get_field_index(COUNT) < 0 or first[COUNT].type != pa.int64():
            return None
        reported_count: int | None = pc.max(first[COUNT]).as_py()
        return reported_count

    def rejected_keys(self) -> pa.Array:
        """Return the keys of the records that cannot be rows, where they can be the key of a row."""
        texts = (text for table in self.rejected_tables() for text in table["record_id"].to_pylist())
        return keys_of_texts(texts, self.schema, self.key)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as tables of one schema, tens of megabytes each; one empty table for no rows."""
        yield from _tables(self.parts, self.schema, self.superseded)

    def rejected_tables(self) -> Iterator[pa.Table]:
        """Yield the records that cannot be rows: resource, record_id, reason, record."""
        yield from _tables(self.rejected, REJECTED_SCHEMA)


@dataclass(frozen=True)
class SpoolState:
    """What is on disk of a listing that is still being read: enough to resume it in another process."""

    parts: tuple[str, ...]
    """Names of the files, in the order of the rows."""
    rejected: tuple[str, ...]
    rows: int
    rejected_rows: int
    undeclared: tuple[str, ...]
    fields: dict[str, list[str]]


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
        written: SpoolState | None = None,
    ) -> None:
        self._resource = resource
        self._columns = columns
        self._key = key
        self._rows = _Parts(directory, f"{resource}.rows")
        self._rejected = _Parts(directory, f"{resource}.rejected")
        if written is None:
            self._batcher = Batcher(resource, columns, new_columns, key=key)
            return
        self._batcher = Batcher(resource, columns, new_columns, written.undeclared, written.fields, key=key)
        self._rows.resume(written.parts, written.rows)
        self._rejected.resume(written.rejected, written.rejected_rows)

    @property
    def rejected_rows(self) -> int:
        """How many records could not be rows so far."""
        return self._rejected.rows

    def add(self, records: list[Any]) -> None:
        """Append `records`."""
        batch, rejected = self._batcher.batch(records)
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
            undeclared=tuple(self._batcher.undeclared),
            fields=self._batcher.fields,
        )

    def complete(self) -> Spooled:
        """Close the files and return the listing."""
        self._rows.close()
        self._rejected.close()
        return Spooled(
            resource=self._resource,
            columns=self._columns,
            key=self._key,
            parts=tuple(self._rows.paths),
            schema=self._batcher.batch([])[0].schema,
            rows=self._rows.rows,
            rejected=tuple(self._rejected.paths),
            rejected_rows=self._rejected.rows,
            fields=self._batcher.fields,
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


def _tables(parts: tuple[Path, ...], schema: pa.Schema, without: frozenset[int] = frozenset()) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    size = place = 0
    for batch in _batches(parts, schema):
        mine = [index for index in range(batch.num_rows) if place + index not in without] if without else None
        place += batch.num_rows
        waiting.append(batch if mine is None else batch.take(pa.array(mine, pa.int64())))
        size += batch.nbytes
        if size >= _TABLE_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting or not parts:
        yield pa.Table.from_batches(waiting, schema)


def _batches(parts: tuple[Path, ...], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for part in parts:
        for batch in _stored(part):
            yield _widened(batch, schema)


def _stored(part: Path) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(part) as reader:
        yield from reader


def _widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    missing = [field for field in schema if field.name not in batch.schema.names]
    arrays = [*batch.columns, *(pa.nulls(batch.num_rows, field.type) for field in missing)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
