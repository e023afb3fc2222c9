"""Request the first page of resources, once each: is the CRM there, does it accept the login, what does it hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from time import monotonic
from typing import Any

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import Endpoint
from crm_assets.errors import CrmError
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.pages import first_page
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
    with CrmSession(_once(resources[0]), connection, Traffic()) as session:
        for resource in map(_once, resources):
            session.switch_to(resource)
            yield _probe(session, resource, connection)


def _once(resource: Resource) -> Resource:
    endpoint: Endpoint = {**resource.endpoint, "error_handler": {**resource.error_handler, "max_retries": 0}}
    return replace(resource, endpoint=endpoint)


def _probe(session: CrmSession, resource: Resource, connection: Connection) -> Probe:
    started = monotonic()
    try:
        page = first_page(resource, connection, session)
    except CrmError as error:
        return Probe(resource.name, monotonic() - started, error=error)
    return Probe(resource.name, monotonic() - started, page)
