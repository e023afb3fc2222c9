"""Identifiers of records: a pure function of the record's number, in both directions."""

from functools import lru_cache
from hashlib import blake2b

_BITS = 52
_MASK = (1 << _BITS) - 1
_STEP = 0x9E3779B97F4A7 | 1  # odd, so that multiplication modulo 2**52 is one to one
_BACK = pow(_STEP, -1, 1 << _BITS)
_SMALL = {2: 5, 7: 981}
_INDEX_OF_SMALL = {small: index for index, small in _SMALL.items()}


def id_of(seed: int, resource: str, index: int) -> int:
    """Return the identifier of record number `index`: 16 digits, below 2**53; two are small, as in the real CRM."""
    return _SMALL.get(index) or (1 << _BITS) + ((index * _STEP + _offset(seed, resource)) & _MASK)


def index_of(seed: int, resource: str, number: int) -> int:
    """Return the number of the record whose identifier is `number`; far beyond any count if there is none."""
    if number in _INDEX_OF_SMALL:
        return _INDEX_OF_SMALL[number]
    return ((number - _offset(seed, resource)) * _BACK) & _MASK


@lru_cache(maxsize=256)
def _offset(seed: int, resource: str) -> int:
    return int.from_bytes(blake2b(f"{seed}/{resource}".encode(), digest_size=8).digest())
