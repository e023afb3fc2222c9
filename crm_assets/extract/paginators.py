"""How a listing goes from page to page: dlt's paginators, and the three that they lack.

dlt's own cursor paginator neither takes the cursor out of the record nor reads it from the last one. `pages.py` guards
all of them against listings that never end.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import orjson
from dlt.common import jsonpath
from dlt.sources.helpers.rest_client.client import PageData
from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    OffsetPaginator,
    RangePaginator,
)
from dlt.sources.rest_api.config_setup import create_paginator
from requests import Request, Response

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import is_last_record_cursor, stop_field
from crm_assets.errors import UnexpectedResponse
from crm_assets.text import counted

CURSOR_FIELD = "cursor"
"""The field of a page's last record that says where the next page begins. Not part of the record."""


@dataclass(frozen=True)
class NextRequest:
    """The request for the page that follows, as plain values: enough to resume with any paginator.

    The login is not in it: it is added when a request is sent.
    """

    method: str
    url: str
    params: dict[str, Any] | None = None
    json: Any = None
    data: Any = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the plain values of `request`, as rest_api fills it."""
        # A paginator changes the body in its place, and so the one of every page before.
        params, json, data = deepcopy((request.params, request.json, request.data))
        return cls(
            str(request.method), str(request.url), cast(dict[str, Any] | None, params), json or None, data or None
        )

    def __str__(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()


def paginator_of(resource: Resource, page_size: int | None) -> BasePaginator:
    """Return the paginator of `resource`, new for each listing.

    Args:
        resource: what is listed.
        page_size: records per page where the API takes such a number; None for the one that its configuration names.
    """
    config: Any = resource.endpoint.get("paginator")
    if config is None:
        return OnlyPagePaginator(resource.name)
    if is_last_record_cursor(config):
        field = stop_field(config["stop_condition"]) if "stop_condition" in config else CURSOR_FIELD
        return LastRecordCursorPaginator(resource.name, config["cursor_param"], field)
    if isinstance(config, Mapping) and config["type"] == "offset" and page_size:
        config = {**config, "limit": page_size}
    return deepcopy(create_paginator(config)) or OnlyPagePaginator(resource.name)


def is_resumable(paginator: BasePaginator) -> bool:
    """Return whether a request is all that `paginator` needs to go on: who knows what one of the user's needs."""
    return type(paginator).__module__.startswith(("dlt.", "crm_assets."))


def reported_total(page: PageData[Any]) -> int | None:
    """Return how many records the CRM says that the listing has, where its pages say so."""
    paginator = page.paginator.inner if isinstance(page.paginator, ListingPaginator) else page.paginator
    if not isinstance(paginator, OffsetPaginator) or not paginator.total_path:
        return None
    found = jsonpath.find_values(paginator.total_path, page.response.json())
    return int(found[0]) if found and str(found[0]).isdigit() else None


class LastRecordCursorPaginator(BasePaginator):
    """Follows the cursor on the last record of each page until there is none.

    Args:
        resource: name of the resource, for messages.
        cursor_param: query parameter that takes the cursor.
        field: field of the last record that carries it.

    Raises:
        UnexpectedResponse: the last record of a page is not an object, so nobody knows whether another page follows.
    """

    def __init__(self, resource: str, cursor_param: str, field: str = CURSOR_FIELD) -> None:
        super().__init__()
        self._resource = resource
        self._cursor_param = cursor_param
        self._field = field
        self._cursor: str | None = None

    def init_request(self, request: Request) -> None:
        """Start a listing: the same instance serves every iteration of its resource."""
        self._has_next_page = True

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Take the cursor out of the page's last record."""
        if data and not isinstance(data[-1], dict):
            raise UnexpectedResponse(
                self._resource,
                f"the last record of a page is {type(data[-1]).__name__}, not an object: "
                "it does not say whether another page follows",
                "Its table is untouched. Report it to the CRM's support.",
            )
        self._cursor = _pop_cursor(data, self._field)
        self._has_next_page = self._cursor is not None

    def update_request(self, request: Request) -> None:
        """Ask for the page after the cursor."""
        request.params = {**cast(dict[str, Any], request.params or {}), self._cursor_param: self._cursor}


class OnlyPagePaginator(BasePaginator):
    """Ends after one page, and refuses a page that says it is not the only one: nobody has said that it is.

    Raises:
        UnexpectedResponse: the last record carries a cursor, or the response has what dlt takes for a next page.
    """

    def __init__(self, resource: str) -> None:
        super().__init__()
        self._resource = resource

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """End the listing."""
        self._has_next_page = False
        size = counted(len(data or ()), "record")
        if (cursor := _pop_cursor(data, CURSOR_FIELD)) is not None:
            raise UnexpectedResponse(
                self._resource,
                f"the listing was cut: a single page of {size} ends with the cursor {cursor!r}",
                "Its table is untouched. Give its endpoint the cursor paginator in the API's configuration.",
            )
        found, score = PaginatorFactory().create_paginator(response)
        if score and _has_more(found, response, data):
            raise UnexpectedResponse(
                self._resource,
                f"the listing was cut: the response to a single page of {size} has what {type(found).__name__} follows",
                "Its table is untouched. Name the paginator of its endpoint in the API's configuration, "
                "`single_page` if this is all.",
            )

    def update_request(self, request: Request) -> None:
        """Nothing follows."""


def _has_more(found: BasePaginator, response: Response, data: list[Any] | None) -> bool:
    """Return whether the paginator that dlt found in `response` would ask for another page."""
    request = Request("GET", response.url, params={})
    found.init_request(request)
    found.update_state(response, data)
    return found.has_next_page


def _pop_cursor(data: list[Any] | None, field: str) -> str | None:
    """Take the cursor out of the last record of a page and return it; None if there is none."""
    if not data or not isinstance(data[-1], dict):
        return None
    cursor = data[-1].pop(field, None)
    return str(cursor) if cursor else None


class ListingPaginator(BasePaginator):
    """Another paginator, for one listing of a resource: it may begin in the middle, and says what a response lacks.

    Args:
        resource: name of the resource, for messages.
        inner: the other one.
        start: the request to begin with; None for the first one.

    Raises:
        UnexpectedResponse: a response lacks what `inner` looks for.
    """

    def __init__(self, resource: str, inner: BasePaginator, start: NextRequest | None = None) -> None:
        super().__init__()
        self.inner = inner
        self._resource = resource
        self._start = start

    @property
    def has_next_page(self) -> bool:
        """Whether another page follows."""
        return self.inner.has_next_page

    def init_request(self, request: Request) -> None:
        """Put `start` in the place of the first request."""
        self.inner.init_request(request)
        if self._start is None:
            return
        start = deepcopy(self._start)
        request.method, request.url = start.method, start.url
        request.params, request.json, request.data = start.params, start.json, start.data
        if isinstance(self.inner, RangePaginator):
            self.inner.current_value = _number(self.inner, start)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Learn from the page whether another one follows."""
        try:
            self.inner.update_state(response, data)
        except ValueError as error:
            lacking, _, _ = str(error).partition(", got")
            raise UnexpectedResponse(
                self._resource,
                f"a response does not say whether another page follows: {' '.join(lacking.split())}",
                "Its table is untouched. Correct the paginator of its endpoint in the API's configuration.",
            ) from None

    def update_request(self, request: Request) -> None:
        """Ask for the next page."""
        self.inner.update_request(request)


def _number(paginator: RangePaginator, start: NextRequest) -> int:
    """Return the page number or the offset that the request `start` asks for."""
    if paginator.param_body_path:
        [number] = jsonpath.find_values(paginator.param_body_path, start.json)
        return int(number)
    return int((start.params or {})[str(paginator.param_name)])
