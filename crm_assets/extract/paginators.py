"""How a listing goes from page to page.

dlt's own cursor paginator neither takes the cursor out of the record nor reads it from the last one, so both kinds
of page that the CRM knows have a paginator here. `pages.py` guards all of them against listings that never end.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import orjson
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import Request, Response

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
        params = cast(dict[str, Any] | None, request.params)
        return cls(str(request.method), str(request.url), params, request.json or None, request.data or None)

    def __str__(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()


class LastRecordCursorPaginator(BasePaginator):
    """Follows the cursor on the last record of each page until there is none.

    Args:
        resource: name of the resource, for messages.
        cursor_param: query parameter that takes the cursor.

    Raises:
        UnexpectedResponse: the last record of a page is not an object, so nobody knows whether another page follows.
    """

    def __init__(self, resource: str, cursor_param: str) -> None:
        super().__init__()
        self._resource = resource
        self._cursor_param = cursor_param
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
        self._cursor = pop_cursor(data)
        self._has_next_page = self._cursor is not None

    def update_request(self, request: Request) -> None:
        """Ask for the page after the cursor."""
        request.params = {**cast(dict[str, Any], request.params or {}), self._cursor_param: self._cursor}


class SinglePagePaginator(BasePaginator):
    """Ends after one page, and refuses a page that says it is not the only one.

    Raises:
        UnexpectedResponse: the last record carries a cursor, so the listing was cut.
    """

    def __init__(self, resource: str) -> None:
        super().__init__()
        self._resource = resource

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """End the listing."""
        self._has_next_page = False
        if (cursor := pop_cursor(data)) is not None:
            size = counted(len(data or ()), "record")
            raise UnexpectedResponse(
                self._resource,
                f"the listing was cut: a single page of {size} ends with the cursor {cursor!r}",
                "Its table is untouched. Give its endpoint the cursor paginator in the API's configuration.",
            )

    def update_request(self, request: Request) -> None:
        """Nothing follows."""


def pop_cursor(data: list[Any] | None) -> str | None:
    """Take the cursor out of the last record of a page and return it; None if there is none."""
    if not data or not isinstance(data[-1], dict):
        return None
    cursor = data[-1].pop(CURSOR_FIELD, None)
    return str(cursor) if cursor else None


class ResumingPaginator(BasePaginator):
    """Another paginator, whose first request is `start`."""

    def __init__(self, inner: BasePaginator, start: NextRequest) -> None:
        super().__init__()
        self._inner = inner
        self._start = start

    @property
    def has_next_page(self) -> bool:
        """Whether another page follows."""
        return self._inner.has_next_page

    def init_request(self, request: Request) -> None:
        """Put `start` in the place of the first request."""
        self._inner.init_request(request)
        request.method, request.url = self._start.method, self._start.url
        request.params, request.json, request.data = self._start.params, self._start.json, self._start.data

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Learn from the page whether another one follows."""
        self._inner.update_state(response, data)

    def update_request(self, request: Request) -> None:
        """Ask for the next page."""
        self._inner.update_request(request)
