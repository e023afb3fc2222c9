"""The work that each peer does: the records of the API, its pages as they travel, and what must have landed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from crm_assets.models.columns import columns_of
from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.listings import CURSOR_FIELD, LISTINGS, MODELS
from crm_assets.sandbox.pages import Pages
from crm_assets.sandbox.records import World
from crm_assets.sandbox.server import DEFAULT_SEED

EMAIL, API_KEY = "bench@example.com", "bench-key"

COUNTS: Final = dict.fromkeys(LISTINGS, 1_000) | {
    "contacts": 20_000,
    "companies": 5_000,
    "deals": 5_000,
    "campaigns": 500,
}
"""How many records each resource has: 37,500, which 312 requests read."""
RECORDS: Final = sum(COUNTS.values())

_WORDS: Final = re.compile(r"[A-Za-z]{3}")


def counts_of(records: int, contacts: int | None = None) -> dict[str, int]:
    """Return how many records there are of each resource: about `records` in all, in the proportions of `COUNTS`.

    At least one of each; and `contacts` of these, if it is given.
    """
    counts = {resource: max(1, count * records // RECORDS) for resource, count in COUNTS.items()}
    return counts if contacts is None else counts | {"contacts": contacts}


def pages_of(crm: SandboxCrm) -> Iterator[tuple[str, str, bytes]]:
    """Yield every page of the API: its path, the cursor that asks for it (empty for the first), its body."""
    pages = Pages(crm)
    for listing in LISTINGS.values():
        cursor = ""
        while True:
            body = pages.page(listing, cursor or None, listing.limit)
            yield listing.path, cursor, body
            last = (orjson.loads(body)[listing.selector] or [{}])[-1]
            cursor = (listing.cursor_param and last.get(CURSOR_FIELD)) or ""
            if not cursor:
                break


def crm_of(counts: Mapping[str, int]) -> SandboxCrm:
    """Return a CRM with so many records of each resource."""
    return SandboxCrm(World(DEFAULT_SEED, counts))


def described() -> dict[str, Any]:
    """Return what the API's guide says, for the peers that declare it: path, pages and columns of each resource."""
    return {
        resource: {
            "path": listing.path,
            "paged": listing.cursor_param is not None,
            "columns": {
                column.field: {"name": column.name, "type": column.data_type.name}
                for column in columns_of(MODELS[resource])
            },
        }
        for resource, listing in LISTINGS.items()
    }


def expected(crm: SandboxCrm) -> dict[str, Any]:
    """Return what must be in each table: all `ids`, and `spots`, some values as id, field and text."""
    return {resource: _expected(resource, list(crm.records(resource))) for resource in LISTINGS}


def _expected(resource: str, records: list[Mapping[str, Any]]) -> dict[str, Any]:
    texts = [column.field for column in columns_of(MODELS[resource]) if column.data_type.name == "text"]
    spots = []
    for record in (records[0], records[len(records) // 2], records[-1]):
        words = ((field, record.get(field)) for field in texts)
        found = next(((field, text) for field, text in words if isinstance(text, str) and _WORDS.match(text)), None)
        spots += [(str(record["id"]), *found)] if found else []
    return {"ids": [str(record["id"]) for record in records], "spots": spots}
