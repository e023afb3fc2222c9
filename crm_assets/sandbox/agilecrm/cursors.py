"""Cursors: they say behind which record a page begins, and for which list they were given."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from zlib import crc32

from crm_assets.sandbox.agilecrm.selections import Key
from crm_assets.sandbox.crm import BadCursor


def write_cursor(scope: str, key: Key) -> str:
    """Return the cursor of the page of a list, `scope`, that begins with the record of that key."""
    rank, position = key
    return urlsafe_b64encode(f"{rank}:{position}:{_seal(scope, key)}".encode()).decode()


def read_cursor(scope: str, cursor: str) -> Key:
    """Return the key that a cursor was written with.

    Raises:
        BadCursor: it was not written for this list.
    """
    try:
        rank, position, seal = urlsafe_b64decode(cursor.encode()).decode().split(":")
        key = int(rank), int(position)
    except ValueError:
        raise BadCursor("not a cursor") from None
    if seal != _seal(scope, key):
        raise BadCursor("not a cursor of this list")
    return key


def _seal(scope: str, key: Key) -> str:
    return f"{crc32(f'{scope}/{key[0]}/{key[1]}'.encode()):08x}"
