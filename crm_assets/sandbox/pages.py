"""Pages as they travel: records and cursor as JSON, kept for the next one who asks for the same page."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, Final, Literal

import orjson

from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.listings import ABSENT, CURSOR_FIELD, Listing

MOST_KEPT: Final = 64 << 20
"""Bytes of pages that are kept; the ones asked for least recently go first."""


BadEnd = Literal["repeat_cursor", "extra_cursor"]
"""What can be wrong with the cursor of a page that is right otherwise."""


class Pages:
    """Renders pages of `crm`. A page of a resource that has not changed since is rendered once."""

    def __init__(self, crm: SandboxCrm, most_kept: int = MOST_KEPT) -> None:
        self._crm = crm
        self._most = most_kept
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Bytes of pages kept now."""
        return self._size

    def page(self, listing: Listing, cursor: str | None, limit: int | None, bad: BadEnd | None = None) -> bytes:
        """Return one page, whose last record carries the cursor of the next one, or a `bad` one.

        Raises:
            BadCursor: the cursor was not given for this listing.
        """
        key = (listing.resource, self._crm.version(listing.resource), cursor, limit, bad)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        body = self._render(listing, cursor, limit, bad)
        self._keep(key, body)
        return body

    def _render(self, listing: Listing, cursor: str | None, limit: int | None, bad: BadEnd | None) -> bytes:
        records, following = self._crm.page(listing.resource, cursor, limit)
        mark: Any = following or listing.at_end
        if bad == "repeat_cursor":
            mark = self._crm.cursor(listing.resource, 0)
        elif bad == "extra_cursor":
            mark = following or self._crm.end_cursor(listing.resource)
        if mark is not ABSENT and records and isinstance(records[-1], dict):
            records[-1][CURSOR_FIELD] = mark
        return orjson.dumps({listing.selector: records})

    def _keep(self, key: Hashable, body: bytes) -> None:
        with self._lock:
            if len(body) > self._most or key in self._kept:
                return
            self._kept[key] = body
            self._size += len(body)
            while self._size > self._most:
                self._size -= len(self._kept.popitem(last=False)[1])
