"""How a listing goes from page to page: dlt's paginators, and those that they lack.

dlt's own cursor paginator neither takes the cursor out of the record nor reads it from the last one. `pages.py` guards
all of them against listings that never end.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from time import time
from typing import Any, Literal, Self, cast

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
from crm_assets.errors import SettingError, UnexpectedResponse
from crm_assets.extract.connection import Connection
from crm_assets.models.values import to_timestamp
from crm_assets.text import counted

CURSOR_FIELD = "cursor"
"""The field of a page's last record that says where the next page begins. Not part of the record."""
_FAR_FUTURE = 4_102_444_800
"""2100-01-01 in epoch seconds: the end of the last window of time."""
_MOST_DAYS = 36_525


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


def paginator_of(resource: Resource, connection: Connection) -> BasePaginator:
    """Return the paginator of `resource`, new for each listing.

    Args:
        resource: what is listed, at one endpoint.
        connection: page size, and what the paginator refers to.

    Raises:
        SettingError: what it refers to cannot be used.
    """
    config: Any = connection.resolve(resource.endpoint.get("paginator"))
    if config is None:
        return OnlyPagePaginator(resource.name)
    if is_last_record_cursor(config):
        return LastRecordCursorPaginator(resource.name, config)
    kind = config["type"] if isinstance(config, Mapping) else ""
    if kind == "time_window":
        return TimeWindowPaginator(resource.name, config)
    if kind == "offset" and connection.page_size:
        config = {**config, "limit": connection.page_size}
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
        config: the words of `api_config.LastRecordCursor`.

    Raises:
        UnexpectedResponse: nobody knows whether another page follows: the last record of a page is not an object, or
            a page of `maximum_limit` records is full.
    """

    def __init__(self, resource: str, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._resource = resource
        self._config = config
        self._field = stop_field(config["stop_condition"]) if "stop_condition" in config else CURSOR_FIELD
        self._cursor: str | None = None
        self._limit = 0

    def init_request(self, request: Request) -> None:
        """Start a listing: the same instance serves every iteration of its resource."""
        self._has_next_page = True
        self.resume(request)

    def resume(self, request: Request) -> None:
        """Go on with the page that `request` asks for."""
        self._limit = int(asked_limit(request, self._config) or self._config["limit"])

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
        if self._cursor is None and data and len(data) >= self._limit:
            self._ask_for_more(data)

    def _ask_for_more(self, data: list[Any]) -> None:
        """Let a full page without a cursor come again, larger, where it may not be the last one."""
        maximum = self._config.get("maximum_limit")
        if maximum is None:
            return
        if self._limit >= maximum:
            raise UnexpectedResponse(
                self._resource,
                f"a page of {counted(len(data), 'record')} is full and carries no cursor: the listing may be cut",
                "Its table is untouched. Raise maximum_limit of its paginator in the API's configuration.",
            )
        self._limit = min(2 * self._limit, maximum)
        self._has_next_page = True
        data.clear()

    def update_request(self, request: Request) -> None:
        """Ask for the page after the cursor, or for a larger one."""
        if self._cursor is not None:
            put(request, self._config, "cursor", self._cursor)
        elif self._has_next_page:
            put(request, self._config, "limit", self._limit)


def asked_limit(request: Request, config: Mapping[str, Any]) -> Any:
    """Return how many records `request` asks for, as the paginator `config` says it; None if it does not."""
    if path := config.get("limit_body_path"):
        body = cast(dict[str, Any], request.json or request.data or {})
        return next(iter(jsonpath.find_values(path, body)), None)
    return cast(dict[str, Any], request.params or {}).get(config.get("limit_param", "limit"))


def put(request: Request, config: Mapping[str, Any], what: Literal["cursor", "limit"], value: Any) -> None:
    """Put the cursor or the limit into `request`: into its form, its JSON or its query, as the paginator says."""
    path = config.get(f"{what}_body_path")
    if path is None:
        name = config.get(f"{what}_param", what)
        request.params = {**cast(dict[str, Any], request.params or {}), name: value}
    elif request.data:
        request.data = {**cast(dict[str, Any], request.data), path: value}
    else:
        body = cast(dict[str, Any], request.json or {})
        jsonpath.set_value_at_path(body, path, value)
        request.json = body


class TimeWindowPaginator(BasePaginator):
    """Asks for one window of time after the other, in epoch seconds, until now, and for what is to come in a last one.

    Windows overlap by a second: not every API counts both ends in.

    Args:
        resource: name of the resource, for messages.
        config: the words of `api_config.TimeWindow`.

    Raises:
        SettingError: `start` is not a time, or `span_days` not a number of days.
        UnexpectedResponse: the last record of a window carries a cursor: it is not whole.
    """

    def __init__(self, resource: str, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._resource = resource
        self._names = (config.get("start_param", "start"), config.get("end_param", "end"))
        self._span = int(_days(resource, config["span_days"]) * 86_400)
        self._start = _epoch_seconds(resource, config["start"])
        self._end = 0

    def init_request(self, request: Request) -> None:
        """Ask for the first window."""
        self._ask(request, self._start)

    def resume(self, request: Request) -> None:
        """Go on with the window that `request` asks for."""
        self._end = int(cast(dict[str, Any], request.params)[self._names[1]])

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """End the listing with the window that has no end."""
        if (cursor := _pop_cursor(data, CURSOR_FIELD)) is not None:
            raise UnexpectedResponse(
                self._resource,
                f"the listing was cut: a window of time with {counted(len(data or ()), 'record')} ends with the cursor "
                f"{cursor!r}",
                "Its table is untouched. Set a smaller span_days of its paginator in the API's configuration.",
            )
        self._has_next_page = self._end < _FAR_FUTURE

    def update_request(self, request: Request) -> None:
        """Ask for the next window."""
        if self._has_next_page:
            self._ask(request, self._end - 1)

    def _ask(self, request: Request, start: int) -> None:
        self._end = start + 1 + self._span if start < time() else _FAR_FUTURE
        window = dict(zip(self._names, (start, self._end), strict=True))
        request.params = {**cast(dict[str, Any], request.params or {}), **window}


def _days(resource: str, value: Any) -> float:
    try:
        days = float(value)
    except (TypeError, ValueError):
        days = 0.0
    if not 1 <= days <= _MOST_DAYS:
        raise SettingError(
            f"{resource}: span_days of its paginator is {value!r}, not a number of days, 1 to {_MOST_DAYS:,}."
        )
    return days


def _epoch_seconds(resource: str, value: Any) -> int:
    try:
        moment = to_timestamp(value)
    except ValueError:
        moment = None
    if moment is None:
        raise SettingError(f"{resource}: start of its paginator is {value!r}, not a date such as 2015-01-01.")
    return int(moment.timestamp())


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
        if isinstance(self.inner, LastRecordCursorPaginator | TimeWindowPaginator):
            self.inner.resume(request)

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
