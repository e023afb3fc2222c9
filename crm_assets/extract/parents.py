"""The records of a parent, listed once per run, for all resources that are requested for each of them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Condition
from typing import Any

import orjson
from dlt.common import jsonpath

from crm_assets.apis.api import Resource
from crm_assets.apis.expressions import parents_of
from crm_assets.errors import CrmAssetsError, UnexpectedResponse
from crm_assets.extract.incremental import KnownRecords

_ABSENT = object()
Parent = Mapping[str, Any]
"""What the children need of one record: the values of some fields, by the field's name or path."""


def fields_for(parent: str, children: Sequence[Resource]) -> tuple[str, ...]:
    """Return the fields of a record of `parent` that `children` need."""
    parts = [part for one in children for part in one.parts if part.parent == parent]
    names = [name for part in parts for name in parents_of(part.endpoint)[parent]]
    names += [name for part in parts for name in part.include_from_parent]
    names += [name for part in parts for name in part.endpoint.get("collect_from_parent", {}).values()]
    return tuple(dict.fromkeys(names))


def parent_of(resource: str, record: Any, fields: Sequence[str]) -> Parent | None:
    """Return what children need of one record; None for one that has null in a field, and so no children.

    Args:
        resource: name of the resource that lists the record.
        record: as the CRM sent it.
        fields: what the children need; see `fields_for`.

    Raises:
        UnexpectedResponse: it lacks a field.
    """
    if not isinstance(record, dict):
        return None
    found = {name: next(iter(jsonpath.find_values(_compiled(name), record)), _ABSENT) for name in fields}
    if absent := [name for name, value in found.items() if value is _ABSENT]:
        raise UnexpectedResponse(
            resource,
            f"a record has no field {', '.join(absent)}, with which its children are requested",
            f"Check the expressions {{resources.{resource}...}} in the API's configuration. "
            f"The record has: {', '.join(record)}.",
        )
    return None if None in found.values() else found


_compiled = cache(jsonpath.compile_path)


class DoneParents:
    """The parents whose children are on disk, so that another attempt does not ask for them again.

    Args:
        path: file that names them, a line each.
        size: how many bytes of it count.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        path.touch()
        os.truncate(path, size)
        self._bytes = size
        self._seen = {hash(line) for line in path.read_bytes().splitlines()}
        self._new: list[bytes] = []
        self._count = len(self._seen)

    def __len__(self) -> int:
        return self._count

    def missing(self, parents: Iterable[Parent]) -> Iterator[Parent]:
        """Yield those of `parents` that are not done, each once, however often it was listed."""
        for parent in parents:
            key = hash(_line(parent))
            if key not in self._seen:
                self._seen.add(key)
                yield parent

    def add(self, parent: Parent) -> None:
        """Take note of one more."""
        self._new.append(_line(parent))
        self._count += 1

    def write(self) -> int:
        """Write the new ones to disk; return how many bytes of the file count."""
        lines = b"".join(line + b"\n" for line in self._new)
        with self._path.open("ab") as file:
            file.write(lines)
        self._bytes += len(lines)
        self._new.clear()
        return self._bytes


def _line(parent: Parent) -> bytes:
    return orjson.dumps(parent, option=orjson.OPT_SORT_KEYS)


class ParentRecords:
    """Records of one resource on disk, read by any number of threads while one of them still writes.

    Args:
        resource: name of the resource.
        children: the resources that are requested for each of its records.
        known: records whose children need not be requested, where the listing is not a whole one.
    """

    def __init__(self, resource: str, children: Sequence[Resource], known: KnownRecords | None = None) -> None:
        self.resource = resource
        self._fields = fields_for(resource, children)
        self._known = known
        self._changed = Condition()
        self._path = Path()
        self._attempt = 0
        self._bytes = 0
        self._count = 0
        self._error: CrmAssetsError | None = None
        self._is_complete = False
        self.since: str | None = None
        """From where the listing was asked for; None for a whole one."""

    @property
    def total(self) -> int | None:
        """How many records there are; None while that is not known."""
        return self._count if self._is_complete else None

    @property
    def bytes(self) -> int:
        """How many bytes of the file count so far."""
        return self._bytes

    def give_up(self) -> None:
        """Say that the file is about to go: the listing begins anew."""
        with self._changed:
            self._bytes = self._count = 0
            self._attempt += 1
            self._changed.notify_all()

    def begin(self, folder: Path, size: int = 0, since: str | None = None) -> None:
        """Write into `folder` from now on, after the first `size` bytes of what an earlier attempt has left there."""
        path = folder / f"{self.resource}.parents"
        path.touch()
        os.truncate(path, size)
        with path.open("rb") as file:
            count = sum(1 for _ in file)
        with self._changed:
            self._path, self._bytes, self._count, self.since = path, size, count, since
            self._attempt += 1
            self._changed.notify_all()

    def add(self, records: Sequence[Any]) -> None:
        """Append what the children need of `records`."""
        known = self._known if self.since is not None else None
        wanted = (record for record in records if known is None or not known.has(record))
        try:
            needed = [one for record in wanted if (one := parent_of(self.resource, record, self._fields))]
        except CrmAssetsError as error:  # a fault of the children's configuration: the listing itself goes on
            self.finish(error)
            return
        lines = b"".join(orjson.dumps(one) + b"\n" for one in needed)
        with self._path.open("ab") as file:
            file.write(lines)
        with self._changed:
            self._bytes += len(lines)
            self._count += len(needed)
            self._changed.notify_all()

    def finish(self, error: CrmAssetsError | None = None) -> None:
        """Say that there are no more, or that they could not be listed."""
        with self._changed:
            self._error = self._error or error
            self._is_complete = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Parent]:
        """Yield the records as they come; again from the first one where the listing began anew.

        Raises:
            CrmAssetsError: they could not be listed to the end.
        """
        attempt = position = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_complete or self._attempt != attempt or self._bytes > position  # noqa: B023
                )
                if self._error:
                    raise self._error
                if self._attempt != attempt:
                    attempt, position = self._attempt, 0
                path, end = self._path, self._bytes
                if position == end:
                    if self._is_complete:
                        return
                    continue
            lines = self._lines(path, position, end, attempt)
            if lines is not None:
                yield from map(orjson.loads, lines)
                position = end

    def _lines(self, path: Path, start: int, end: int, attempt: int) -> Sequence[Any] | None:
        """Return the lines of a file between two places; None if the file has gone with its attempt meanwhile."""
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(end - start).splitlines()
        except FileNotFoundError:
            with self._changed:
                if self._attempt == attempt:
                    raise
            return None
