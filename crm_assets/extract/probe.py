"""Request the first page of resources, once each: is the CRM there, does it accept the login, what does it hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from time import monotonic
from typing import Any

from crm_assets.apis.api import Api, Resource
from crm_assets.apis.api_config import Endpoint
from crm_assets.errors import CrmError
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.endpoint_reader import EndpointReader
from crm_assets.extract.parents import Parent, fields_for, parent_of
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


def probe_resources(resources: Sequence[Resource], connection: Connection, api: Api) -> Iterator[Probe]:
    """Request the first page of each of `resources`, one after the other over one connection, without retries.

    Of a resource that has a parent, the children of the parent's first record are requested.

    Args:
        resources: what is requested.
        connection: address and login.
        api: where their parents are.

    Raises:
        Cancelled: `connection.cancelled` was set meanwhile.
    """
    if not resources:
        return
    with CrmSession(_once(resources[0]), connection, Traffic()) as session:
        pages = _FirstPages(connection, session, api)
        for resource in resources:
            yield _probe(pages, resource)


def _probe(pages: "_FirstPages", resource: Resource) -> Probe:
    started = monotonic()
    try:
        page = pages.read(resource)
    except CrmError as error:
        return Probe(resource.name, monotonic() - started, error=error)
    return Probe(resource.name, monotonic() - started, page)


class _FirstPages:
    """The first page of each resource, requested once."""

    def __init__(self, connection: Connection, session: CrmSession, api: Api) -> None:
        self._connection = connection
        self._session = session
        self._api = api
        self._read: dict[str, list[Any]] = {}

    def read(self, resource: Resource) -> list[Any]:
        if resource.name not in self._read:
            parts = map(self._part, resource.parts)
            self._read[resource.name] = [record for records in parts for record in records]
        return self._read[resource.name]

    def _part(self, part: Resource) -> list[Any]:
        """Return the first page of one endpoint, of the first record of its parent that has children."""
        parent = self._parent(part, part.parent) if part.parent else None
        once = _once(part)
        self._session.switch_to(once)
        reader = EndpointReader(once, self._connection, self._session)
        if parent is not None:
            return reader.read(parent)[0]
        return [] if part.parent else reader.first_page()

    def _parent(self, part: Resource, parent: str) -> Parent | None:
        """Return the first record of the parent that has children, if there is one."""
        fields = fields_for(parent, [part])
        records = self.read(self._api.resource(parent))
        return next((one for record in records if (one := parent_of(parent, record, fields))), None)


def _once(resource: Resource) -> Resource:
    endpoint: Endpoint = {**resource.endpoint, "error_handler": {**resource.error_handler, "max_retries": 0}}
    return replace(resource, endpoint=endpoint)
