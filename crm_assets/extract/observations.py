"""What the first response to a request shows of an API's habits, told from what came and from nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from dlt.common import jsonpath
from dlt.sources.helpers.rest_client.detector import find_response_page_data
from requests import Request

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import is_last_record_cursor, stop_field
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection
from crm_assets.extract.json_decoder import parse
from crm_assets.extract.paginators import CURSOR_FIELD, asked_limit
from crm_assets.extract.rest_api import request_of
from crm_assets.text import counted

NEWER = "what is new"
"""In the place of a request: those for what has changed, together."""


@dataclass(frozen=True)
class Observation:
    """What was seen of one request's first response."""

    request: str
    """Which of several requests; empty for the only one of a resource."""
    facts: tuple[str, ...]
    content_type: str | None = None
    """As the response says it, without parameters, or `none`; None for a response without a body."""

    def __str__(self) -> str:
        facts = ", ".join(self.facts)
        return f"{self.request}: {facts}" if self.request else facts


@dataclass(frozen=True)
class _Came:
    """A response as it came, before a response action could change it."""

    status: int
    content_type: str
    content: bytes


class ObservingSession(CrmSession):
    """A session that keeps the first response since the last call of `switch_to`."""

    _first: _Came | None

    def switch_to(self, resource: Resource) -> None:
        """Read another resource from now on, over the same connection."""
        super().switch_to(resource)
        self._first = None

    def prepare_request(self, request: Request) -> requests.PreparedRequest:
        """Return `request` as it is sent, with a hook of ours before those of the response actions."""
        prepared = super().prepare_request(request)
        prepared.hooks["response"].insert(0, self._keep)
        return prepared

    def observe(self, part: Resource, connection: Connection) -> Observation:
        """Return what the first response shows of the requests of `part`, a resource at one endpoint.

        Args:
            part: what was requested since the last call of `switch_to`.
            connection: what its configuration refers to.
        """
        came = self._first
        if came is None:
            return Observation("", (f"nothing was requested, for lack of a record of {part.parent}",))
        kind = came.content_type.partition(";")[0].strip().lower() or "none"
        return Observation("", tuple(_facts(came, part, connection)), kind if came.content else None)

    def amount(self, part: Resource, connection: Connection) -> str:
        """Return how many records the first response has, and whether its last one has a cursor."""
        records = _records(_body(self._first), part) if self._first else []
        return ", ".join([counted(len(records), "record"), *_cursor(records, part, connection)])

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if self._first is None and not response.is_redirect:
            self._first = _Came(response.status_code, response.headers.get("Content-Type", ""), response.content)


def label(part: Resource) -> str:
    """Return method, path and fixed parameters of the request of `part`, as the configuration has them."""
    endpoint = part.endpoint
    fixed = [f"{name}={value}" for name, value in endpoint.get("params", {}).items() if isinstance(value, str | int)]
    return "?".join(filter(None, (f"{endpoint['method']} {endpoint['path']}", "&".join(fixed))))


def _facts(came: _Came, part: Resource, connection: Connection) -> Iterator[str]:
    body = _body(came)
    records = _records(body, part)
    yield _amount(came, body, part)
    yield from _cursor(records, part, connection)
    yield from _total(records, part)
    yield from (place for field in part.remove_fields if (place := _place_of(field, records)))


def _body(came: _Came) -> Any:
    """Return the JSON of a response; None for none, and for an error page that a response action lets pass."""
    try:
        return parse(came.content) if came.status < HTTPStatus.BAD_REQUEST else None
    except ValueError:
        return None


def _records(body: Any, part: Resource) -> list[Any]:
    found = _selected(body, part)
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found


def _selected(body: Any, part: Resource) -> list[Any]:
    """Return what the selector of the endpoint finds, as dlt does: a list in a list where records are meant."""
    if body is None:
        return []
    selector = part.endpoint.get("data_selector")
    return jsonpath.find_values(selector, body) if selector else [find_response_page_data(body)[1]]


def _amount(came: _Came, body: Any, part: Resource) -> str:
    records = _records(body, part)
    if came.status >= HTTPStatus.BAD_REQUEST:
        return f"HTTP {came.status}, which response_actions allow"
    if not came.content:
        return f"HTTP {came.status} without a body: no records"
    selector = part.endpoint.get("data_selector") or ""
    if "[" not in selector and any(isinstance(one, dict) for one in _selected(body, part)):
        return "an object in the place of a list: 1 record"
    return counted(len(records), "record") if records else "an empty list"


def _cursor(records: Sequence[Any], part: Resource, connection: Connection) -> Iterator[str]:
    """Yield what the last record says of another page, where the paginator looks for that."""
    paginator: Any = part.endpoint.get("paginator")
    if not records or not is_last_record_cursor(paginator):
        return
    field = stop_field(paginator["stop_condition"]) if "stop_condition" in paginator else CURSOR_FIELD
    if isinstance(records[-1], dict) and records[-1].get(field):
        yield "another page follows"
    elif len(records) >= _limit(part, connection):
        yield "a full page without a cursor"
    else:
        yield "no cursor"


def _limit(part: Resource, connection: Connection) -> int:
    """Return how many records the first request asks for."""
    asked = {word: value for word, value in request_of(part, connection).items() if word in ("params", "json", "data")}
    paginator: Any = part.endpoint["paginator"]
    return int(asked_limit(Request(**asked), paginator))


def _total(records: Sequence[Any], part: Resource) -> Iterator[str]:
    """Yield the number that the first record says of all, where the configuration names its field."""
    if records and (field := part.endpoint.get("total_field")):
        said = str(records[0].get(field, "")) if isinstance(records[0], dict) else ""
        is_number = said.isascii() and said.isdigit()
        yield f"{field} says {int(said):,}" if is_number else f"no number in {field}"


def _place_of(field: str, records: Sequence[Any]) -> str:
    """Return which records have a field that is none of theirs; empty if none has it."""
    having = [number for number, record in enumerate(records, 1) if isinstance(record, dict) and field in record]
    if not having:
        return ""
    if len(having) == len(records):
        return f"{field} on every record"
    if having in ([1], [len(records)]):
        return f"{field} on the {'first' if having == [1] else 'last'} record"
    return f"{field} on {len(having):,} of {len(records):,} records"
