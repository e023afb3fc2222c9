"""Which records a request is for, and in which order."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from crm_assets.sandbox.agilecrm.dynamic_filter import RESOURCES, DynamicFilter, Times
from crm_assets.sandbox.agilecrm.latest import Fact, Facts, Latest
from crm_assets.sandbox.agilecrm.relations import Relations
from crm_assets.sandbox.agilecrm.times import milliseconds
from crm_assets.sandbox.crm import SandboxCrm, Snapshot

NEWEST_FIRST: Final = "-created_time"
OLDEST_FIRST: Final = "created_time"
LATEST_FIRST: Final = "-last_updated_time"
_COMPLETED: Final = "COMPLETED"
_MOST_KEPT: Final = 64

Key = tuple[int, int]


def by_position(_: int) -> int:
    """Rank every record alike, so that they stand in order of creation."""
    return 0


@dataclass(frozen=True)
class Selection:
    """Records in order.

    Attributes:
        snapshot: where the records are.
        positions: theirs, sorted by `key`.
        rank: what they are sorted by, before their position.
        is_stable: whether the second page goes on with the order of the first one.
        has_cursors: whether a page says how to get the next one.
    """

    snapshot: Snapshot
    positions: Sequence[int]
    rank: Callable[[int], int] = by_position
    is_stable: bool = True
    has_cursors: bool = True

    def key(self, position: int) -> Key:
        """Return what says where a record stands."""
        return self.rank(position), position

    def slice(self, start: Key | None, size: int) -> tuple[Sequence[int], Key | None]:
        """Return up to `size` positions from `start` on, and the key of the one after them; None if none follows."""
        first = 0 if start is None else bisect_left(self.positions, start, key=self.key)
        after = first + size
        ordered = self.positions if self.is_stable or not first else self.positions[::-1]
        following = self.key(self.positions[after]) if after < len(self.positions) else None
        return ordered[first:after], following


class Selections:
    """The records of `crm` as the API lists them. Whatever takes a look at every record is kept until one changes."""

    def __init__(self, crm: SandboxCrm, relations: Relations) -> None:
        self._crm, self._relations = crm, relations
        self._times = {name: _latest(crm, name, _times) for name in RESOURCES.values()}
        self._statuses = _latest(crm, "tasks", _status)
        self._spans = _latest(crm, "events", _span)
        self._updates = _latest(crm, "tickets", _last_updated)
        self._sorted = lru_cache(_MOST_KEPT)(self._sort)

    def all(self, resource: str) -> Selection:
        """Return every record, in order of creation."""
        snapshot = self._crm.snapshot(resource)
        return Selection(snapshot, snapshot.positions)

    def changed(self, resource: str, sort_key: str | None, wanted: DynamicFilter | None = None) -> Selection:
        """Return the contacts, companies or deals that a filter finds; by default all.

        Args:
            resource: whose records.
            sort_key: `-created_time` or `created_time`; anything else gives an order that the next page does not keep.
            wanted: the filter.
        """
        return self._sorted(self._crm.version(resource), resource, sort_key, wanted)

    def _sort(self, _: int, resource: str, sort_key: str | None, wanted: DynamicFilter | None) -> Selection:
        snapshot, times = self._times[resource].get()
        ranks: dict[str | None, Callable[[int], int]] = {
            NEWEST_FIRST: lambda position: -times[position].created_time,
            OLDEST_FIRST: lambda position: times[position].created_time,
        }
        found = snapshot.positions if wanted is None else [p for p in snapshot.positions if wanted.matches(times[p])]
        if sort_key not in ranks:
            return Selection(snapshot, found, is_stable=False)
        return Selection(snapshot, sorted(found, key=ranks[sort_key]), ranks[sort_key])

    def children(self, resource: str, parent: str, parent_id: str) -> Selection:
        """Return the notes or documents of one contact or deal."""
        return Selection(*self._relations.children(resource, parent, parent_id))

    def pending_tasks(self) -> Selection:
        """Return the tasks that are not completed."""
        snapshot, statuses = self._statuses.get()
        return Selection(snapshot, [p for p in snapshot.positions if statuses[p] != _COMPLETED])

    def tasks(self, status: str) -> Selection:
        """Return the tasks in one state."""
        snapshot, statuses = self._statuses.get()
        return Selection(snapshot, [p for p in snapshot.positions if statuses[p] == status])

    def events(self, start: int, end: int) -> Selection:
        """Return the events that overlap a window, both ends included, in epoch seconds."""
        snapshot, spans = self._spans.get()
        first, last = start * 1000, end * 1000
        return Selection(snapshot, [p for p in snapshot.positions if _overlaps(spans[p], first, last)])

    def dated_events(self) -> Selection:
        """Return the events that some window has."""
        snapshot, spans = self._spans.get()
        return Selection(snapshot, [p for p in snapshot.positions if spans[p]])

    def tickets(self, filter_id: str, sort_key: str | None) -> Selection:
        """Return the tickets that a ticket filter finds; it has cursors if it was created as number 0, 2, 4 ..."""
        snapshot, found = self._relations.children("tickets", "ticket_filters", filter_id)
        if not found:
            return Selection(snapshot, found)
        has_cursors = self._crm.position("ticket_filters", filter_id) % 2 == 0
        if sort_key != LATEST_FIRST:
            return Selection(snapshot, found, has_cursors=has_cursors)
        _, updates = self._updates.get()

        def rank(position: int) -> int:
            return -updates[position]

        return Selection(snapshot, sorted(found, key=rank), rank, has_cursors=has_cursors)


def _latest(crm: SandboxCrm, resource: str, fact: Callable[[Any], Fact]) -> Latest[list[Fact]]:
    return Latest(crm, resource, Facts(crm, resource, fact).of)


def _times(record: Any) -> Times:
    return Times(milliseconds(record, "created_time"), milliseconds(record, "updated_time"))


def _last_updated(record: Any) -> int:
    return milliseconds(record, "last_updated_time")


def _status(record: Any) -> Any:
    return record.get("status") if isinstance(record, dict) else None


def _span(record: Any) -> tuple[int, int] | None:
    """Return begin and end of an event, in epoch milliseconds; None if it has no beginning."""
    start = milliseconds(record, "start")
    return (start, max(start, milliseconds(record, "end"))) if start else None


def _overlaps(span: tuple[int, int] | None, first: int, last: int) -> bool:
    return span is not None and span[0] <= last and span[1] >= first
