"""The CRM's records as they stand now: a world that nobody stores, and the changes made to it since."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import RLock
from typing import Any
from zlib import crc32

from crm_assets.sandbox.draft import id_of, index_of
from crm_assets.sandbox.records import World


class BadCursor(ValueError):
    """A cursor that this CRM never gave, or gave for another listing."""


class UnknownRecord(LookupError):
    """No record of the resource has that identifier."""


@dataclass(frozen=True)
class Snapshot:
    """One resource as it stood at one moment; changes made since do not show.

    Attributes:
        version: the resource's version then.
        positions: of the records that there were, in order of creation.
        end: one more than the last position ever given.
        own: the records that were created or changed, by position. Not to be changed.
        gone: the positions of deleted records.
        record: gives a copy of the record at a position.
    """

    version: int
    positions: Sequence[int]
    end: int
    own: Mapping[int, Any]
    gone: Set[int]
    record: Callable[[int], Any]


@dataclass
class _Changes:
    """What has changed in one resource. A position is a record's number by order of creation, for ever."""

    end: int
    own: dict[int, Any] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    version: int = 0

    def live(self, start: int = 0) -> Sequence[int] | Iterator[int]:
        positions = range(start, self.end)
        return (position for position in positions if position not in self.gone) if self.gone else positions


class SandboxCrm:
    """The records of every resource; any thread may read and change them at any time.

    A cursor says at which position its page begins, so that it stays right while other records come and go.

    Attributes:
        world: what it began with.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._lock = RLock()
        self._changes = {resource: _Changes(count) for resource, count in world.counts.items()}
        self._snapshots: dict[str, Snapshot] = {}

    def count(self, resource: str) -> int:
        """Return how many records `resource` holds now."""
        with self._lock:
            changes = self._changes[resource]
            return changes.end - len(changes.gone)

    def version(self, resource: str) -> int:
        """Return a number that is another one after every change of `resource`."""
        return self._changes[resource].version

    def records(self, resource: str) -> Iterator[Any]:
        """Return the records as they stand now, in listing order; changes made meanwhile do not show."""
        snapshot = self.snapshot(resource)
        return map(snapshot.record, snapshot.positions)

    def snapshot(self, resource: str) -> Snapshot:
        """Return `resource` as it stands now; the same one until it changes."""
        with self._lock:
            changes, snapshot = self._changes[resource], self._snapshots.get(resource)
            if snapshot is None or snapshot.version != changes.version:
                live, own = changes.live(), dict(changes.own)
                positions = live if isinstance(live, range) else list(live)
                record = partial(self._record, resource, own=own)
                gone, end = frozenset(changes.gone), changes.end
                snapshot = self._snapshots[resource] = Snapshot(changes.version, positions, end, own, gone, record)
            return snapshot

    def position(self, resource: str, record_id: int | str) -> int:
        """Return the number by order of creation of the record with that identifier.

        Raises:
            UnknownRecord: no record has it.
        """
        with self._lock:
            return self._find(resource, record_id)

    def id_at(self, resource: str, position: int) -> Any:
        """Return the identifier of the record created as number `position`; None if there is none, or it has none."""
        with self._lock:
            changes = self._changes[resource]
            if position >= changes.end or position in changes.gone:
                return None
            record = changes.own.get(position, {"id": id_of(self.world.seed, resource, position)})
            return record.get("id") if isinstance(record, dict) else None

    def page(self, resource: str, cursor: str | None, limit: int | None) -> tuple[list[Any], str | None]:
        """Return up to `limit` records from `cursor` on, and the cursor of the next page; None if none follows.

        Raises:
            BadCursor: the cursor was not given for this resource.
        """
        start = self._position_of(resource, cursor) if cursor else 0
        with self._lock:
            changes = self._changes[resource]
            positions = list(islice(changes.live(start), None if limit is None else limit + 1))
            own = {position: changes.own[position] for position in positions if position in changes.own}
        following = None if limit is None or len(positions) <= limit else self.cursor(resource, positions.pop())
        return [self._record(resource, position, own) for position in positions], following

    def cursor(self, resource: str, position: int) -> str:
        """Return the cursor of a page that begins with the record created as number `position`."""
        return b64encode(f"{position}:{self._seal(resource, position)}".encode()).decode()

    def end_cursor(self, resource: str) -> str:
        """Return the cursor of a page after the last record: an empty one."""
        return self.cursor(resource, self._changes[resource].end)

    def create(self, resource: str, record: dict[str, Any] | None = None) -> dict[str, Any]:
        """Add a record at the end and return it: a made-up one, or `record`, which gets an `id` if it has none."""
        with self._lock:
            changes = self._changes[resource]
            position = changes.end
            if record is None:
                record = self.world.record(resource, position)
            changes.own[position] = deepcopy({"id": id_of(self.world.seed, resource, position), **record})
            changes.end += 1
            changes.version += 1
            return self._record(resource, position, changes.own)

    def update(self, resource: str, record_id: int | str, /, **fields: Any) -> dict[str, Any]:
        """Change `fields` of a record, those and no others, and return the record.

        Raises:
            UnknownRecord: no record has that identifier.
        """
        with self._lock:
            position = self._find(resource, record_id)
            changes = self._changes[resource]
            changes.own[position] = {**self._record(resource, position, changes.own), **deepcopy(fields)}
            changes.version += 1
            return self._record(resource, position, changes.own)

    def delete(self, resource: str, record_id: int | str, /) -> None:
        """Take a record away; its identifier is never used again.

        Raises:
            UnknownRecord: no record has that identifier.
        """
        with self._lock:
            position = self._find(resource, record_id)
            changes = self._changes[resource]
            changes.gone.add(position)
            changes.own.pop(position, None)
            changes.version += 1

    def replace(self, resource: str, place: int, record: Any) -> None:
        """Put anything at all in a record's place, for planting a defect.

        Args:
            resource: name of the resource.
            place: place in the listing as it stands now, from 0; -1 is the last.
            record: what the listing shows there from now on. Need not be a record.

        Raises:
            UnknownRecord: the listing has no such place.
        """
        with self._lock:
            changes = self._changes[resource]
            index = place if place >= 0 else place + self.count(resource)
            position = next(islice(iter(changes.live()), index, None), None) if index >= 0 else None
            if position is None:
                raise UnknownRecord(f"{resource} has no place {place}: it holds {self.count(resource)} records")
            changes.own[position] = deepcopy(record)
            changes.version += 1

    def _record(self, resource: str, position: int, own: dict[int, Any]) -> dict[str, Any]:
        if position not in own:
            made = self.world.record(resource, position)
            return {**made, "count": self.count(resource)} if "count" in made else made
        record: dict[str, Any] = deepcopy(own[position])
        return record

    def _find(self, resource: str, record_id: int | str) -> int:
        changes, text = self._changes[resource], str(record_id)
        if text.isascii() and text.isdigit():
            position = index_of(self.world.seed, resource, int(text))
            right = position not in changes.own or _has_id(changes.own[position], text)
            if position < changes.end and position not in changes.gone and right:
                return position
        for position, record in sorted(changes.own.items()):
            if _has_id(record, text):
                return position
        raise UnknownRecord(f"{resource} has no record with the id {text[:40]!r}")

    def _position_of(self, resource: str, cursor: str) -> int:
        try:
            text, _, seal = b64decode(cursor, validate=True).decode().partition(":")
            position = int(text)
        except ValueError:
            raise BadCursor(f"{resource}: not a cursor") from None
        if position < 0 or seal != self._seal(resource, position):
            raise BadCursor(f"{resource}: not a cursor of this listing")
        return position

    def _seal(self, resource: str, position: int) -> str:
        return f"{crc32(f'{self.world.seed}/{resource}/{position}'.encode()):08x}"


def _has_id(record: Any, text: str) -> bool:
    return isinstance(record, dict) and "id" in record and str(record["id"]) == text
