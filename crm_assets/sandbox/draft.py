"""Random values that repeat: the same seed, resource and number give the same record on every machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import chain, count
from struct import Struct
from typing import Any, Final, TypeVar

from crm_assets.sandbox.words import WORDS, plain

Option = TypeVar("Option")

FIRST: Final = 1_420_070_400
"""2015-01-01: no record is older. Epoch seconds, as every time of a draft."""
NOW: Final = 1_780_272_000
"""2026-06-01: the sandbox's clock stands still, so that two starts do not differ."""

_BITS: Final = 52
_MASK: Final = (1 << _BITS) - 1
_STEP: Final = 0x9E3779B97F4A7 | 1  # odd, so that multiplication modulo 2**52 is one to one
_STEP_BACK: Final = pow(_STEP, -1, 1 << _BITS)
_SMALL_IDS: Final = {2: 5, 7: 981}
_unpack: Final = Struct("<32H").unpack


def id_of(seed: int, resource: str, index: int) -> int:
    """Return the id of record number `index`: 16 digits, below 2**53; two are small, as in the real CRM."""
    return _SMALL_IDS.get(index) or (1 << _BITS) + ((index * _STEP + _offset(seed, resource)) & _MASK)


def index_of(seed: int, resource: str, record_id: int) -> int:
    """Return the number of the record with that id; far beyond any count if there is none."""
    small = next((index for index, small in _SMALL_IDS.items() if small == record_id), None)
    return ((record_id - _offset(seed, resource)) * _STEP_BACK) & _MASK if small is None else small


@cache
def _offset(seed: int, resource: str) -> int:
    return int.from_bytes(blake2b(f"{seed}/{resource}".encode(), digest_size=8).digest())


class RandomValues:
    """An endless series of random values that only `key` determines.

    A keyed hash rather than `random.Random`, whose seeding costs more than a whole record.
    """

    __slots__ = ("_draw",)

    def __init__(self, key: str) -> None:
        seed = key.encode()
        blocks = (_unpack(blake2b(seed, salt=b"%d" % block).digest()) for block in count())
        self._draw: Callable[[], int] = chain.from_iterable(blocks).__next__

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1, at most 65535."""
        return self._draw() * limit >> 16

    def wide(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1, at most 2**32 - 1."""
        return ((self._draw() << 16 | self._draw()) * limit) >> 32

    def pick(self, options: Sequence[Option]) -> Option:
        """Return one of `options`."""
        return options[self._draw() * len(options) >> 16]


class Draft(RandomValues):
    """One record in the making: its random values, and what several of its fields share.

    Attributes:
        counts: how many records each resource begins with; references stay below.
        index: number of the record in its resource.
        links: numbers of the records that it refers to, by resource.
        updated: when it last changed; now and then 0, for never.
        record: the fields so far.
    """

    __slots__ = ("counts", "created", "id", "index", "links", "record", "resource", "seed", "updated")

    def __init__(self, seed: int, counts: Mapping[str, int], resource: str, index: int) -> None:
        super().__init__(f"{seed}/{resource}/{index}")
        self.seed, self.counts, self.resource, self.index = seed, counts, resource, index
        self.id = id_of(seed, resource, index)
        self.links = {resource: [index]}
        self.created = FIRST + self.wide(NOW - FIRST)
        self.updated = self.since(self.created) if self.below(6) else 0
        self.record: dict[str, Any] = {}

    def since(self, moment: int, until: int = NOW) -> int:
        """Return a time from `moment` to `until`."""
        return moment + self.wide(until - moment + 1)

    def planned(self) -> int:
        """Return a day within half a year after the record was created; it may lie in the future."""
        return self.created + self.below(180) * 86_400

    def amount(self, most: int = 10_000) -> float:
        """Return an amount of money up to `most`, mostly a round one."""
        return float(self.wide(most // 50) * 50) if self.below(4) else self.wide(most * 100) / 100

    def linked(self, resource: str) -> list[int]:
        """Return the numbers of up to two existing records of `resource`, the same ones at every call."""
        if resource not in self.links:
            existing = self.counts[resource]
            self.links[resource] = sorted({self.wide(existing) for _ in range(self.below(3))}) if existing else []
        return self.links[resource]

    def linked_ids(self, resource: str) -> list[int | str]:
        """Return the ids of the linked records of `resource` as text; a number gets in now and then."""
        ids = [id_of(self.seed, resource, index) for index in self.linked(resource)]
        return [str(one) if self.below(20) else one for one in ids]

    def user(self) -> dict[str, Any]:
        """Return one of the CRM's users, as an owner."""
        return self.pick(_users(self.seed)).copy()


@cache
def _users(seed: int) -> list[dict[str, Any]]:
    return [
        {"id": id_of(seed, "users", 10 + index), "name": name, "email": f"{plain(name)}@crm.example", "domain": "crm"}
        for index, name in enumerate(WORDS["users"])
    ]
