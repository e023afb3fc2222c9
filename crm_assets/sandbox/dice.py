"""Chance that repeats itself: the same key gives the same draws, on every machine."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain, count
from struct import Struct
from typing import TypeVar

Option = TypeVar("Option")

_unpack = Struct("<32H").unpack


class Dice:
    """An endless row of draws that only `key` determines.

    A keyed hash rather than `random.Random`, whose seeding costs more than a whole record.
    """

    __slots__ = ("_draw",)

    def __init__(self, key: str) -> None:
        seed = key.encode()
        blocks = (_unpack(blake2b(seed, salt=b"%d" % block).digest()) for block in count())
        self._draw: Callable[[], int] = chain.from_iterable(blocks).__next__

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1; `limit` is at most 65536."""
        return self._draw() * limit >> 16

    def wide(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1; `limit` may be as large as 2**32."""
        return ((self._draw() << 16 | self._draw()) * limit) >> 32

    def one_in(self, times: int) -> bool:
        """Return True once in so many `times`."""
        return self._draw() * times < 1 << 16

    def pick(self, options: Sequence[Option]) -> Option:
        """Return one of `options`."""
        return options[self._draw() * len(options) >> 16]
