"""What the sandbox lists and how each listing pages: derived from the endpoint table, row by row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from crm_assets.apis.api import load_api

CURSOR_FIELD: Final = "cursor"
"""The field of a page's last record that says where the next page begins."""
ABSENT: Final = object()


@dataclass(frozen=True)
class Listing:
    """One endpoint.

    Attributes:
        resource: name of the resource.
        path: where it is listed.
        selector: key of the answer that holds the records.
        cursor_param: query parameter that takes the cursor; None for a listing in a single page.
        limit: records per page unless the request says otherwise; None for a single page.
        at_end: what the last record of the last page has as cursor: nothing, null or an empty text.
    """

    resource: str
    path: str
    selector: str
    cursor_param: str | None = None
    limit: int | None = None
    at_end: object = ABSENT


def _listings() -> list[Listing]:
    listings = []
    for number, resource in enumerate(API.resources):
        endpoint: Mapping[str, Any] = resource.endpoint
        listing = Listing(resource.name, endpoint["path"], endpoint["data_selector"])
        if paginator := endpoint.get("paginator"):
            at_end = (ABSENT, None, "")[number % 3]
            listing = replace(listing, cursor_param=paginator["cursor_param"], limit=paginator["limit"], at_end=at_end)
        listings.append(listing)
    return listings


API: Final = load_api("v1", Path())
MODELS: Final = {resource.name: resource.model for resource in API.resources if resource.model}
"""The model of each resource."""
LISTINGS: Final = {listing.resource: listing for listing in _listings()}
"""Every listing, by resource, in the table's order."""
BY_PATH: Final = {listing.path: listing for listing in LISTINGS.values()}
"""Every listing, by path."""

_USUAL: Final = {
    "contacts": 2500,
    "companies": 400,
    "deals": 800,
    "notes": 600,
    "tasks": 500,
    "events": 300,
    "milestone": 3,
    "campaigns": 120,
    "documents": 200,
    "ticket_filters": 12,
    "tickets": 700,
}
DEFAULT_COUNTS: Final = {resource: _USUAL.get(resource, 100) for resource in LISTINGS}
"""How many records each resource begins with unless told otherwise."""


def parse_count(text: str) -> tuple[str, int]:
    """Read `RESOURCE=N`.

    Raises:
        ValueError: it is something else.
    """
    resource, _, number = text.partition("=")
    try:
        return resource, int(number)
    except ValueError:
        raise ValueError(f"count: {text!r} is not RESOURCE=N") from None


def counts_with(changes: Mapping[str, int] | None) -> dict[str, int]:
    """Return `DEFAULT_COUNTS` with `changes`.

    Raises:
        ValueError: names the resource that does not exist, or whose count is no count.
    """
    for resource, count in (changes or {}).items():
        if resource not in LISTINGS:
            raise ValueError(f"count: unknown resource {resource!r}; known: {', '.join(LISTINGS)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"count of {resource}: {count!r} is not a number of records")
    return {**DEFAULT_COUNTS, **(changes or {})}
