"""Request the first page of resources, once each: is the CRM there, does it accept the login, what does it hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any

from dlt.sources.helpers.rest_client.auth import HttpBasicAuth

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import Endpoint
from crm_assets.errors import CrmError
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import pop_cursor
from crm_assets.extract.responses import select
from crm_assets.extract.rest_api import listing_params
from crm_assets.models.values import json_text


@dataclass(frozen=True)
class Probe:
    """What one resource answered: the records of its first page, or None and an error."""

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


def probe_resources(resources: Sequence[Resource], connection: Connection) -> Iterator[Probe]:
    """Request the first page of each of `resources`, one after the other over one connection, without retries.

    Raises:
        Cancelled: `connection.cancelled` was set meanwhile.
    """
    if not resources:
        return
    with CrmSession(resources[0].name, _once(resources[0]), connection, Traffic()) as session:
        for resource in resources:
            session.switch_to(resource.name, _once(resource))
            yield _probe(session, resource, connection)


def _once(resource: Resource) -> Endpoint:
    return {**resource.endpoint, "error_handler": {**resource.endpoint["error_handler"], "max_retries": 0}}


def _probe(session: CrmSession, resource: Resource, connection: Connection) -> Probe:
    started = monotonic()
    try:
        response = session.get(
            connection.base_url + resource.endpoint["path"],
            params=listing_params(resource, connection),
            auth=HttpBasicAuth(connection.email, connection.api_key),
        )
    except CrmError as error:
        return Probe(resource.name, monotonic() - started, error=error)
    page = select(response.json(), resource.endpoint["data_selector"])
    pop_cursor(page)
    return Probe(resource.name, monotonic() - started, page)
