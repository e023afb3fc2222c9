"""Listings waiting on local disk until they are complete, so that memory does not grow with the CRM."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_assets.sync.batches import Batcher, Rejected

_LOCK = "lock"
_IPC = pa.ipc.IpcWriteOptions(compression="lz4")
_TABLE_BYTES = 32 << 20
_REJECTED = pa.schema([(name, pa.string()) for name in ("resource", "record_id", "reason", "record")])


@contextmanager
def working_directory(runs: Path, name: str) -> Iterator[Path]:
    """Make the directory `runs/name` for one run, and remove it when the run ends.

    Directories whose run died without removing them are removed first: a run holds a lock on its
    own, and the operating system takes the lock away from the dead.
    """
    path = runs / name
    path.mkdir(parents=True, exist_ok=True)
    _remove_orphans(runs, keep=path)
    with (path / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Spooled:
    """One complete listing on disk."""

    resource: str
    parts: tuple[Path, ...]
    schema: pa.Schema
    rows: int
    rejected: tuple[Path, ...]
    rejected_rows: int
    fields: dict[str, list[str]]
    """The JSON types in which each field of the CRM came."""

    def repeated_ids(self) -> list[int]:
        """Return the identifiers that stand in more than one row of the listing."""
        ids = pa.chunked_array([table.column("id") for table in self.tables()], pa.int64())
        return [int(count["values"]) for count in pc.value_counts(ids).to_pylist() if count["counts"] > 1]

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as tables of one schema, tens of megabytes each; one empty table for no rows."""
        yield from _tables(self.parts, self.schema)

    def rejected_tables(self) -> Iterator[pa.Table]:
        """Yield the records that cannot be rows: resource, record_id, reason, record."""
        yield from _tables(self.rejected, _REJECTED)


class ListingSpool:
    """Writes one listing to disk, batch by batch.

    Args:
        directory: where the files go; they begin with the resource's name.
        resource: name of the resource.
    """

    def __init__(self, directory: Path, resource: str) -> None:
        self._resource = resource
        self._batcher = Batcher(resource)
        self._rows = _Parts(directory, f"{resource}.rows")
        self._rejected = _Parts(directory, f"{resource}.rejected")

    @property
    def rejected_rows(self) -> int:
        """How many records could not be rows so far."""
        return self._rejected.rows

    def add(self, records: list[Any]) -> None:
        """Append `records`."""
        batch, rejected = self._batcher.batch(records)
        self._rows.write(batch)
        if rejected:
            self._rejected.write(_rejected_batch(rejected))

    def complete(self) -> Spooled:
        """Close the files and return the listing."""
        self._rows.close()
        self._rejected.close()
        return Spooled(
            resource=self._resource,
            parts=tuple(self._rows.paths),
            schema=self._rows.schema or self._batcher.batch([])[0].schema,
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
        self.paths: list[Path] = []
        self.schema: pa.Schema | None = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None or batch.schema != self.schema:
            self.close()
            path = self._directory / f"{self._stem}.{len(self.paths)}.arrows"
            self._writer = pa.ipc.new_stream(path, batch.schema, options=_IPC)
            self.paths.append(path)
            self.schema = batch.schema
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _tables(parts: tuple[Path, ...], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in _batches(parts, schema):
        waiting.append(batch)
        size += batch.nbytes
        if size >= _TABLE_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting or not parts:
        yield pa.Table.from_batches(waiting, schema)


def _batches(parts: tuple[Path, ...], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with pa.ipc.open_stream(part) as reader:
            for batch in reader:
                yield _widened(batch, schema)


def _widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    missing = [field for field in schema if field.name not in batch.schema.names]
    arrays = [*batch.columns, *(pa.nulls(batch.num_rows, field.type) for field in missing)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _rejected_batch(rejected: list[Rejected]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([asdict(record) for record in rejected], schema=_REJECTED)


def _remove_orphans(runs: Path, keep: Path) -> None:
    for path in runs.iterdir():
        lock = path / _LOCK
        if path == keep or not lock.exists():
            continue
        with lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path, ignore_errors=True)
