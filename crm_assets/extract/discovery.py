"""What an endpoint that nobody has described yet answers: records, how they page, what tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlt.sources.helpers.rest_client.detector import PaginatorFactory, find_response_page_data
from dlt.sources.helpers.rest_client.paginators import (
    HeaderLinkPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
    PageNumberPaginator,
)
from dlt.sources.helpers.rest_client.utils import join_url
from requests import Response

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import Endpoint
from crm_assets.apis.defaults import ERROR_HANDLER
from crm_assets.errors import UnexpectedResponse
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import CURSOR_FIELD

_TOTALS = ("total", "count", "total_count", "totalCount")
"""What APIs call the number of all records."""


@dataclass(frozen=True)
class Discovery:
    """The first page of an endpoint, and what it tells of the endpoint."""

    records: Sequence[Mapping[str, Any]]
    selector: str | None
    """Where the records are in the body; None for the whole of it."""
    paginator: Mapping[str, Any] | None
    """In the words of a configuration; None where nothing says that there is another page."""
    key: tuple[str, ...]
    """The field that tells one record from another; none where no field does."""


def discover(name: str, path: str, connection: Connection) -> Discovery:
    """Request the first page of `path` and return what it tells.

    Args:
        name: name of the resource, for messages.
        path: where it is listed.
        connection: address and login.

    Raises:
        CrmError: it could not be read, or holds no records.
    """
    endpoint: Endpoint = {"path": path, "error_handler": {**ERROR_HANDLER}}
    resource = Resource(name, endpoint, None, "daily", (), "append")
    with CrmSession(resource, connection, Traffic()) as session:
        url = join_url(connection.base_url, path)
        response = session.get(url, headers=connection.resolve(connection.headers))
        body = response.json()
    where, found = find_response_page_data(body)
    records = [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
    if not records:
        raise UnexpectedResponse(name, f"{path} has no records to look at", "Choose a path that lists some.")
    selector = None if list(where) == ["$"] else ".".join(where)
    paginator = _paginator(response, records)
    if paginator == _LAST_RECORD:
        records[-1].pop(CURSOR_FIELD)
    return Discovery(records, selector, paginator, _key(records))


_LAST_RECORD: Mapping[str, Any] = {"type": "cursor", "limit": 100, "cursor_param": CURSOR_FIELD}


def _paginator(response: Response, records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    if records[-1].get(CURSOR_FIELD) and not any(CURSOR_FIELD in record for record in records[:-1]):
        return _LAST_RECORD
    return _detected(response) or _offset(response.json(), len(records))


def _detected(response: Response) -> Mapping[str, Any] | None:
    """Return what dlt takes for the paginator, in the words of a configuration."""
    found, score = PaginatorFactory().create_paginator(response)
    match found if score else None:
        case HeaderLinkPaginator():
            return {"type": "header_link"}
        case JSONLinkPaginator(next_url_path=path):
            return {"type": "json_link", "next_url_path": str(path)}
        case JSONResponseCursorPaginator(cursor_path=path):
            return {"type": "cursor", "cursor_path": str(path), "cursor_param": CURSOR_FIELD}
        case PageNumberPaginator(total_path=path):
            return {"type": "page_number", "base_page": 1, "total_path": str(path)}
        case _:
            return None


def _offset(body: Any, records: int) -> Mapping[str, Any] | None:
    """Return a paginator of offsets if the body says that there are more than so many records."""
    totals = [name for name in _TOTALS if isinstance(body, dict) and isinstance(body.get(name), int)]
    total = next((name for name in totals if body[name] > records), None)
    return {"type": "offset", "limit": records, "total_path": total} if total else None


def _key(records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    candidates = ["id", *records[0]]
    return next(((field,) for field in candidates if _is_key(field, records)), ())


def _is_key(field: str, records: Sequence[Mapping[str, Any]]) -> bool:
    values = [record.get(field) for record in records]
    scalar = all(isinstance(value, str | int) and not isinstance(value, bool) and value != "" for value in values)
    return scalar and len(set(map(str, values))) == len(values)
