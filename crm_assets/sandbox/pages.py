"""Pages as they travel, kept for the next one who asks: a benchmark is to measure the client, not the sandbox."""

from functools import lru_cache
from typing import Any

import orjson

from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.listings import ABSENT, CURSOR_FIELD, Listing

MOST_KEPT = 512


class Pages:
    """The pages of `crm` as JSON. One of a resource that has not changed since is rendered once."""

    def __init__(self, crm: SandboxCrm) -> None:
        self._crm = crm
        self._kept = lru_cache(MOST_KEPT)(self._rendered)

    def page(self, listing: Listing, cursor: str | None, limit: int | None, fault: str | None = None) -> bytes:
        """Return one page, whose last record has the cursor of the next one, or what `fault` makes of it.

        Raises:
            BadCursor: the cursor was not given for this listing.
        """
        return self._kept(listing, self._crm.version(listing.resource), cursor, limit, fault)

    def _rendered(self, listing: Listing, _: int, cursor: str | None, limit: int | None, fault: str | None) -> bytes:
        records, following = self._crm.page(listing.resource, cursor, limit)
        if fault == "null_data":
            return orjson.dumps({listing.selector: None})
        mark: Any = following or listing.at_end
        if fault == "repeat_cursor":
            mark = self._crm.cursor(listing.resource, 0)
        elif fault == "extra_cursor":
            mark = following or self._crm.end_cursor(listing.resource)
        if mark is not ABSENT and records and isinstance(records[-1], dict):
            records[-1][CURSOR_FIELD] = mark
        return orjson.dumps({listing.selector: records})
