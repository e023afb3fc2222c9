"""The records of the made-up shop: the same ones each time, with values of every kind that JSON has."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from zlib import crc32

Key = tuple[Any, ...]
Record = dict[str, Any]

COUNTS = {
    "products": 45,
    "orders": 38,
    "customers": 25,
    "invoices": 33,
    "payments": 52,
    "shipments": 28,
    "search": 41,
    "exports": 30,
    "settings": 1,
    "stores": 12,
}
"""How many records a listing begins with unless told otherwise."""
PARENTS = {"addresses": ("customers", "id"), "lines": ("orders", "id"), "stock": ("stores", "code")}
"""Listings that each record of another one has: the other one, and the field of its key."""
CHILDREN = {"addresses": (0, 1, 2), "lines": (1, 0, 3, 13), "stock": (3,)}
"""How many records of these the first parent has, the second and so on, over and over."""
KEYS = {
    **dict.fromkeys(COUNTS, ("id",)),
    "products": ("sku",),
    "invoices": ("number",),
    "settings": ("shop",),
    "stores": ("code",),
    "addresses": ("id",),
    "lines": ("_orders_id", "position"),
    "stock": ("store", "sku"),
}
"""The fields that tell one record from another. A name that begins with `_` is the parent's, and not sent."""

_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


class Records:
    """The records of every listing as they stand now; any thread may read and change them.

    Args:
        counts: how many records, by listing; of a child listing how many each parent has.
    """

    def __init__(self, counts: dict[str, int] | None = None) -> None:
        counts = counts or {}
        self._lock = Lock()
        self._clock = _BEGIN + timedelta(days=365)
        self._made: Counter[Any] = Counter()
        self._tables: dict[str, dict[Any, dict[Key, Record]]] = {name: {} for name in KEYS}
        for name, count in COUNTS.items():
            for _ in range(counts.get(name, count)):
                self.create(name)
        for name, (parent, field) in PARENTS.items():
            usual = (counts[name],) if name in counts else CHILDREN[name]
            for place, record in enumerate(self.all(parent)):
                for _ in range(usual[place % len(usual)]):
                    self.create(name, record[field])

    def all(self, name: str) -> list[Record]:
        """Return the records of a listing, of all parents that are there, with their `_` fields."""
        with self._lock:
            groups = self._tables[name]
            if name in PARENTS:
                parent, field = PARENTS[name]
                there = [record[field] for record in self._tables[parent].get(None, {}).values()]
                return [record for one in there for record in groups.get(one, {}).values()]
            return list(groups.get(None, {}).values())

    def listed(self, name: str, parent: Any = None) -> list[Record] | None:
        """Return the records as they are sent; None if there is no such parent. `parent` is text, as in a path."""
        with self._lock:
            if name not in PARENTS:
                return list(self._tables[name].get(None, {}).values())
            above, field = PARENTS[name]
            key = int(parent) if field == "id" and parent.isdigit() else parent
            if (key,) not in self._tables[above].get(None, {}):
                return None
            found = self._tables[name].get(key, {}).values()
            return [{field: value for field, value in record.items() if field[0] != "_"} for record in found]

    def create(self, name: str, parent: Any = None, **fields: Any) -> Record:
        """Add the next made-up record, with `fields` changed, and return it."""
        with self._lock:
            self._made[name] += 1
            self._made[name, parent] += 1
            record = _record(name, self._made[name], parent, self._made[name, parent])
            record |= {"updated_at": self._now()} | fields
            group = self._tables[name].setdefault(parent, {})
            group[_key(name, record)] = record
            return record

    def change(self, name: str, key: Key, **fields: Any) -> Record:
        """Change some fields of a record, and its `updated_at`; return it."""
        with self._lock:
            group = next(group for group in self._tables[name].values() if key in group)
            group[key] = {**group[key], "updated_at": self._now(), **fields}
            return group[key]

    def delete(self, name: str, key: Key) -> None:
        """Take a record away, and with it what it is the parent of."""
        with self._lock:
            group = next(group for group in self._tables[name].values() if key in group)
            del group[key]

    def _now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(name: str, record: Record) -> Key:
    return tuple(record[field] for field in KEYS[name])


def _record(name: str, number: int, parent: Any, place: int) -> Record:
    own: Record = {"id": number}
    match name:
        case "products":
            own = {"sku": f"SKU-{number:05}", "unitPrice": number * 1.25}
        case "invoices":
            own = {"number": f"{number:04}/24"}  # text that is hardly a number
        case "payments":
            own = {"id": f"{crc32(str(number).encode()):08x}-{number}", "reference": 2**53 + number}
        case "settings":
            own = {"shop": "main"}
        case "stores":
            own = {"code": f"S{number:04}"}
        case "addresses":
            own = {"id": number, "_customers_id": parent, "city": f"City {number}"}
        case "lines":
            own = {"_orders_id": parent, "position": place}
        case "stock":
            own = {"store": parent, "sku": f"SKU-{place:05}"}
    return own | _values(crc32(f"{name}/{number}".encode()), number)


def _values(chance: int, number: int) -> Record:
    created = _BEGIN + timedelta(minutes=chance % 500_000, milliseconds=number % 3 * 125)
    return {
        "label": f"Nº {number} ☂",
        "quantity": chance % 1_000 - 100,
        "score": chance % 997 / 8,  # a whole number now and then
        "active": chance % 2 == 0,
        "amount": f"{chance % 100_000 / 100:.2f}",
        "created_at": created.isoformat() if number % 2 else created.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "shipped_at": None if number % 3 else created.replace(microsecond=0).isoformat().replace("+00:00", "Z"),
        "note": None if number < 15 else 'Said: "it\'s 5"',  # null at first, on whole pages
        "tags": [f"t{one}" for one in range(chance % 4)],
        "details": {"size": {"w": number, "h": 0.5}, "colour": None},
    }
