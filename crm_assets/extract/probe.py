"""Ask for the first page of resources, once each: is the CRM there, does it know us, what does it hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any

from dlt.sources.helpers.rest_client.auth import HttpBasicAuth

from crm_assets.apis.api_config import ApiConfig, Endpoint, Resource
from crm_assets.errors import CrmError
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import pop_cursor
from crm_assets.extract.responses import select
from crm_assets.models.values import json_text


@dataclass(frozen=True)
class Probe:
    """What one resource answered: the records of its first page, None and an error if it did not answer well."""

    resource: str
    seconds: float
    page: Sequence[Any] | None = field(default=None, repr=False)
    error: CrmError | None = None

    @property
    def records(self) -> int | None:
        """How many records the first page has."""
        return None if self.page is None else len(self.page)

    def fingerprint(self) -> str:
        """Return 16 digits that are others when a record of the page changes, comes or goes."""
        return sha256(json_text(self.page, sort_keys=True).encode()).hexdigest()[:16]


def probe_resources(table: ApiConfig, rows: Sequence[Resource], connection: Connection) -> Iterator[Probe]:
    """Ask for the first page of each of `rows`, one after the other over one connection, without retries.

    Raises:
        Cancelled: `connection.cancelled` was set meanwhile.
    """
    if not rows:
        return
    with CrmSession(rows[0]["name"], _once(table, rows[0]), connection, Traffic()) as session:
        for row in rows:
            endpoint = _once(table, row)
            session.turn_to(row["name"], endpoint)
            yield _probe(session, row["name"], endpoint, connection)


def _once(table: ApiConfig, row: Resource) -> Endpoint:
    endpoint: Endpoint = {**table["resource_defaults"]["endpoint"], **row["endpoint"]}
    return {**endpoint, "error_handler": {**endpoint["error_handler"], "max_retries": 0}}


def _probe(session: CrmSession, resource: str, endpoint: Endpoint, connection: Connection) -> Probe:
    paginator = endpoint["paginator"]
    params = {"limit": connection.page_size or paginator["limit"]} if paginator["type"] == "cursor" else {}
    started = monotonic()
    try:
        response = session.get(
            connection.base_url + endpoint["path"],
            params=params,
            auth=HttpBasicAuth(connection.email, connection.api_key),
        )
    except CrmError as error:
        return Probe(resource, monotonic() - started, error=error)
    page = select(response.json(), endpoint["data_selector"])
    pop_cursor(page)
    return Probe(resource, monotonic() - started, page)
