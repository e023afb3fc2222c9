"""Which notes, documents and tickets are found below which contacts, deals and ticket filters."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Final, NamedTuple
from zlib import crc32

from crm_assets.sandbox.agilecrm.latest import Latest
from crm_assets.sandbox.crm import SandboxCrm, Snapshot, UnknownRecord

_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "notes": {"contacts": "contact_ids", "deals": "deal_ids"},
    "documents": {"contacts": "contact_ids"},
}
"""The fields that say below which contacts and deals a record is found."""
CHILDREN: Final = (*_FIELDS, "tickets")
"""The resources that are listed below others only."""

Parent = tuple[str, str | int]
"""One that others are found below: its resource, and its identifier as text or its number among those of the start."""


class _Index(NamedTuple):
    """Who is found below whom, by position, of some records of a resource."""

    parents: dict[int, list[Parent]]
    children: dict[Parent, list[int]]


class Relations:
    """Below which records others are found now.

    A note or a document is found below the contacts of its `contact_ids`, a note also below the deals of its
    `deal_ids`. If these name nobody, or `contact_ids` is no list, one contact of the start is chosen for ever. A ticket
    answers to one or two ticket filters of the start, chosen for ever, and to the first one whatever it is.
    """

    def __init__(self, crm: SandboxCrm) -> None:
        self._crm = crm
        self._lock = Lock()
        self._of_start: dict[str, _Index] = {}
        self._of_own = {name: Latest(crm, name, partial(self._own_index, name)) for name in CHILDREN}

    def children(self, resource: str, parent: str, parent_id: int | str) -> tuple[Snapshot, Sequence[int]]:
        """Return the records of `resource`, and the positions of those below one `parent`: none if that is unknown."""
        start = self._start_index(resource)
        snapshot, own = self._of_own[resource].get()
        try:
            keys: list[Parent] = [(parent, str(parent_id)), (parent, self._crm.position(parent, parent_id))]
        except UnknownRecord:
            return snapshot, []
        found = {one for key in keys for one in start.children.get(key, ()) if _is_untouched(one, snapshot)}
        return snapshot, sorted(found.union(*(own.children.get(key, ()) for key in keys)))

    def reachable(self, resource: str) -> tuple[Snapshot, Sequence[int]]:
        """Return the records of `resource`, and the positions of those that are found below any other."""
        snapshot, by_position = self._ids(resource)
        return snapshot, list(by_position)

    def parents(self, resource: str) -> dict[int, dict[str, list[int]]]:
        """Return the identifiers of the records that find each record, by its identifier and their resource.

        Args:
            resource: `notes`, `documents` or `tickets`. A record that nothing finds is left out, and one whose
                identifier is no number.
        """
        _, by_position = self._ids(resource)
        numbered = ((_number(self._crm.id_at(resource, position)), ids) for position, ids in by_position.items())
        return {record_id: ids for record_id, ids in numbered if record_id is not None}

    def _ids(self, resource: str) -> tuple[Snapshot, dict[int, dict[str, list[int]]]]:
        """Return the records, and the identifiers of those that each is found below, by position and resource."""
        start = self._start_index(resource)
        snapshot, own = self._of_own[resource].get()
        known = {parent: self._id(parent) for index in (start, own) for parent in index.children}
        found: dict[int, dict[str, list[int]]] = {}
        for position in snapshot.positions:
            ids: dict[str, set[int]] = defaultdict(set)
            for parent in (own if position in snapshot.own else start).parents[position]:
                if (parent_id := known[parent]) is not None:
                    ids[parent[0]].add(parent_id)
            if ids:
                found[position] = {name: sorted(some) for name, some in ids.items()}
        return snapshot, found

    def _id(self, parent: Parent) -> int | None:
        """Return the identifier of a parent; None if it does not exist, or has none that is a number."""
        resource, key = parent
        try:
            position = self._crm.position(resource, key) if isinstance(key, str) else key
        except UnknownRecord:
            return None
        return _number(self._crm.id_at(resource, position))

    def _start_index(self, resource: str) -> _Index:
        with self._lock:
            if resource not in self._of_start:
                world = self._crm.world
                numbers = range(world.counts[resource])
                self._of_start[resource] = self._indexed(resource, ((n, world.record(resource, n)) for n in numbers))
            return self._of_start[resource]

    def _own_index(self, resource: str, snapshot: Snapshot) -> _Index:
        return self._indexed(resource, snapshot.own.items())

    def _indexed(self, resource: str, records: Iterable[tuple[int, Any]]) -> _Index:
        index = _Index({}, defaultdict(list))
        for position, record in records:
            chance = crc32(f"{self._crm.world.seed}/parent/{resource}/{position}".encode())
            parents = (
                self._mentioned(_FIELDS[resource], record, chance) if resource in _FIELDS else self._filters(chance)
            )
            index.parents[position] = parents
            for parent in parents:
                index.children[parent].append(position)
        return index

    def _mentioned(self, fields: Mapping[str, str], record: Any, chance: int) -> list[Parent]:
        mentioned = {parent: _ids_in(record, field) for parent, field in fields.items()}
        found: list[Parent] = [(parent, one) for parent, ids in mentioned.items() for one in ids or ()]
        contacts = self._crm.world.counts["contacts"]
        if contacts and (not found or mentioned["contacts"] is None):
            found.append(("contacts", chance % contacts))
        return found

    def _filters(self, chance: int) -> list[Parent]:
        filters = self._crm.world.counts["ticket_filters"]
        numbers = {0, chance % filters} if filters else set()
        if filters and chance >> 31:
            numbers.add((chance >> 8) % filters)
        return [("ticket_filters", number) for number in sorted(numbers)]


def _ids_in(record: Any, field: str) -> set[str] | None:
    """Return the identifiers in a list of them, as text; None if there is no list."""
    ids = record.get(field) if isinstance(record, dict) else None
    return set(map(str, ids)) if isinstance(ids, list) else None


def _number(record_id: Any) -> int | None:
    text = str(record_id)
    return int(text) if text.isascii() and text.isdigit() else None


def _is_untouched(position: int, snapshot: Snapshot) -> bool:
    return position not in snapshot.own and position not in snapshot.gone
