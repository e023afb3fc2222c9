"""Request the first page of resources, once each: is the CRM there, does it accept the login, what does it hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from typing import Any

from crm_assets.apis.api import Api, Resource
from crm_assets.apis.api_config import Endpoint, Incremental
from crm_assets.errors import CrmError
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.endpoint_reader import EndpointReader
from crm_assets.extract.incremental import is_refusal, start_value, with_start
from crm_assets.extract.observations import NEWER, Observation, ObservingSession, label
from crm_assets.extract.parents import Parent, fields_for, parent_of
from crm_assets.models.values import json_text


@dataclass(frozen=True)
class Probe:
    """What one resource answered: the records of its first page, or None and an error."""

    resource: str
    seconds: float
    page: Sequence[Any] | None = field(default=None, repr=False)
    error: CrmError | None = None
    observations: tuple[Observation, ...] = ()
    """What its responses show of the API's habits, one for each request."""

    @property
    def records(self) -> int | None:
        """How many records the first page has."""
        return None if self.page is None else len(self.page)

    def fingerprint(self) -> str:
        """Return 16 digits that are others when a record of the page changes, comes or goes."""
        return sha256(json_text(self.page, sort_keys=True).encode()).hexdigest()[:16]


def probe_resources(
    resources: Sequence[Resource], connection: Connection, api: Api, *, observe: bool = False
) -> Iterator[Probe]:
    """Request the first page of each of `resources`, one after the other over one connection, without retries.

    Of a resource that has a parent, the children of the parent's first record are requested.

    Args:
        resources: what is requested.
        connection: address and login.
        api: where their parents are.
        observe: whether to say what the responses show of the API's habits. Endpoints that say what is new are then
            asked, too; that one of them fails is an observation, because a run then lists everything.

    Raises:
        Cancelled: `connection.cancelled` was set meanwhile.
    """
    if not resources:
        return
    with ObservingSession(_once(resources[0]), connection, Traffic()) as session:
        pages = _FirstPages(connection, session, api, observe=observe)
        for resource in resources:
            probe = _probe(pages, resource)
            newer = pages.newer(resource) if observe and probe.error is None else ()
            yield replace(probe, observations=(*pages.observed[resource.name], *newer))


def _probe(pages: "_FirstPages", resource: Resource) -> Probe:
    started = monotonic()
    try:
        page = pages.read(resource)
    except CrmError as error:
        return Probe(resource.name, monotonic() - started, error=error)
    return Probe(resource.name, monotonic() - started, page)


class _FirstPages:
    """The first page of each resource, requested once.

    Attributes:
        observed: what was seen of each resource that was read; nothing unless it is to be observed.
    """

    def __init__(self, connection: Connection, session: ObservingSession, api: Api, *, observe: bool) -> None:
        self.observed: dict[str, list[Observation]] = {}
        self._connection = connection
        self._session = session
        self._api = api
        self._observe = observe
        self._read: dict[str, list[Any]] = {}

    def read(self, resource: Resource) -> list[Any]:
        if resource.name not in self._read:
            self.observed[resource.name] = []
            parts = [self._observed_part(resource, part) for part in resource.parts]
            self._read[resource.name] = [record for records in parts for record in records]
        return self._read[resource.name]

    def newer(self, resource: Resource) -> tuple[Observation, ...]:
        """Return what the endpoints answer that say what is new, asked for a day; nothing if there are none."""
        incremental = resource.incremental
        if incremental is None or "endpoints" not in incremental:
            return ()
        asked: Incremental = {**incremental, "lag": timedelta(days=1).total_seconds()}
        newer = with_start(resource, start_value(asked, datetime.now(UTC), 0))
        facts: list[str] = []
        for part in newer.parts:
            try:
                self._part(part)
            except CrmError as error:
                return (Observation(NEWER, (*facts, _without_newer(error))),)
            facts.append(self._session.amount(part, self._connection))
        return (Observation(NEWER, tuple(facts)),)

    def _observed_part(self, resource: Resource, part: Resource) -> list[Any]:
        records = self._part(part)
        if self._observe:
            seen = self._session.observe(part, self._connection)
            self.observed[resource.name].append(replace(seen, request=label(part)) if resource.more_endpoints else seen)
        return records

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


def _without_newer(error: CrmError) -> str:
    """Return what an endpoint answers that does not say what is new, and what follows for a run."""
    why = f"HTTP {error.status}" if (error.status or 0) >= HTTPStatus.BAD_REQUEST else error.why
    return f"{why}, so each run lists everything" if is_refusal(error) else error.why


def _once(resource: Resource) -> Resource:
    endpoint: Endpoint = {**resource.endpoint, "error_handler": {**resource.error_handler, "max_retries": 0}}
    return replace(resource, endpoint=endpoint)
