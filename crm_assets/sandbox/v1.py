"""The API `v1`: one listing per resource, in a page of its own or in pages, below the key `data`."""

from collections.abc import Mapping
from functools import partial

import orjson

from crm_assets.sandbox.api import OK, Answer, Call, Request
from crm_assets.sandbox.crm import BadCursor, SandboxCrm
from crm_assets.sandbox.listings import BY_PATH, LISTINGS, Listing
from crm_assets.sandbox.pages import Pages


class V1:
    """Answers requests of `v1` with the records of `crm`."""

    def __init__(self, crm: SandboxCrm) -> None:
        self._pages = Pages(crm)

    def call(self, request: Request) -> Call | None:
        """Return what `request` is; None if it is none of `v1`."""
        listing = BY_PATH.get(request.path) if request.method == "GET" else None
        return Call(listing.resource, partial(self._answer, listing, request.query)) if listing else None

    def refused_login(self) -> Answer:
        """Return the answer to a wrong login."""
        challenge = {"WWW-Authenticate": 'Basic realm="sandbox", charset="UTF-8"'}
        return _error(401, "Login refused: e-mail or API key is wrong.", headers=challenge)

    def endpoints(self) -> Mapping[str, list[str]]:
        """Return the request that lists each resource."""
        return {resource: [f"GET {listing.path}"] for resource, listing in LISTINGS.items()}

    def example(self, curl: str, base_url: str) -> str:
        """Return a command that asks for two contacts, from one that logs in."""
        return f"{curl} '{base_url}/v1/contacts?limit=2'"

    def _answer(self, listing: Listing, query: dict[str, str], fault: str | None) -> Answer:
        limit, cursor = listing.limit, None
        if listing.cursor_param is not None:
            asked = query.get("limit", str(limit))
            limit = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
            if limit < 1:
                return _error(400, "limit: not a number from 1", field="limit")
            cursor = query.get(listing.cursor_param) or None
        try:
            return Answer(OK, self._pages.page(listing, cursor, limit, fault))
        except BadCursor as error:
            return _error(500, str(error))


def _error(status: int, said: str, *, headers: Mapping[str, str] | None = None, **more: str) -> Answer:
    return Answer(status, orjson.dumps({"error": said, **more}), headers=headers or {})
