"""How a listing goes from page to page.

dlt's own cursor paginator neither takes the cursor out of the record nor ends when a cursor
repeats, so both kinds of page that the CRM knows have a paginator here.
"""

from time import monotonic
from typing import Any, cast

from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import Request, Response

from crm_assets.errors import UnexpectedResponse
from crm_assets.extract.connection import Connection, Traffic

CURSOR_FIELD = "cursor"
"""The field of a page's last record that says where the next page begins. Not part of the record."""


class LastRecordCursorPaginator(BasePaginator):
    """Follows the cursor on the last record of each page until there is none.

    Args:
        resource: name of the resource, for messages.
        cursor_param: query parameter that takes the cursor.
        connection: whose login must not stand in a message, and within how many seconds a listing must end.
        traffic: told where the next page begins.
        start: cursor of the page to begin with; None for the first.

    Raises:
        UnexpectedResponse: the listing would never end: a cursor or a page came twice, or it took too long; or
            the last record of a page is none, so that nobody knows whether it has ended.
    """

    def __init__(
        self, resource: str, cursor_param: str, connection: Connection, traffic: Traffic, start: str | None = None
    ) -> None:
        super().__init__()
        self._resource = resource
        self._cursor_param = cursor_param
        self._connection = connection
        self._traffic = traffic
        self._start = start
        self._cursor: str | None = None
        self._seen: set[str | None] = set()
        self._page: list[Any] | None = None
        self._began = monotonic()

    def init_request(self, request: Request) -> None:
        """Begin a listing: the same instance serves every iteration of its resource."""
        self._has_next_page = True
        self._cursor = self._start
        self._seen = {self._start}
        self._page = None
        self._began = monotonic()
        if self._start is not None:
            self.update_request(request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Take the cursor out of the page's last record."""
        if data and not isinstance(data[-1], dict):
            raise self._wrong(
                f"the last record of a page is {type(data[-1]).__name__}, not an object: "
                "it does not say whether another page follows"
            )
        self._cursor = pop_cursor(data)
        self._has_next_page = self._cursor is not None
        if self._has_next_page:
            self._expect_an_end(data)
        self._seen.add(self._cursor)
        self._traffic.cursor = self._cursor

    def _expect_an_end(self, page: list[Any] | None) -> None:
        if self._cursor in self._seen:
            cursor = self._connection.masked(str(self._cursor))
            what = f"the cursor {cursor!r} came a second time"
        elif page == self._page:
            what = "the same page came twice in a row"
        elif monotonic() - self._began > self._connection.listing_seconds:
            what = f"it took more than {self._connection.listing_seconds:,.0f} s (sources.crm.listing_seconds)"
        else:
            self._page = page
            return
        raise self._wrong(f"{what}, after {len(self._seen)} pages: the listing would never end")

    def _wrong(self, why: str) -> UnexpectedResponse:
        return UnexpectedResponse(
            self._resource,
            why,
            "Its table is untouched. Report it to the CRM's support; a different sources.crm.page_size may help.",
        )

    def update_request(self, request: Request) -> None:
        """Ask for the page after the cursor."""
        request.params = {**cast(dict[str, Any], request.params or {}), self._cursor_param: self._cursor}


class SinglePagePaginator(BasePaginator):
    """Ends after one page, and refuses a page that says it is not the only one.

    Raises:
        UnexpectedResponse: the last record carries a cursor, so the listing was cut.
    """

    def __init__(self, resource: str, connection: Connection) -> None:
        super().__init__()
        self._resource = resource
        self._connection = connection

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """End the listing."""
        self._has_next_page = False
        if (cursor := pop_cursor(data)) is not None:
            raise UnexpectedResponse(
                self._resource,
                f"the listing was cut: a single page of {len(data or ())} records ends with the cursor "
                f"{self._connection.masked(cursor)!r}",
                "Its table is untouched. Give its endpoint the cursor paginator in crm_assets/api/v1.py.",
            )

    def update_request(self, request: Request) -> None:
        """Nothing follows."""


def pop_cursor(data: list[Any] | None) -> str | None:
    """Take the cursor out of the last record of a page and return it; None if there is none."""
    if not data or not isinstance(data[-1], dict):
        return None
    cursor = data[-1].pop(CURSOR_FIELD, None)
    return str(cursor) if cursor else None
