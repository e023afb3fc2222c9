"""A listing as pages: the unit from the socket to the disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import dlt
from dlt.sources.helpers.rest_client.client import PageData

from crm_assets.apis.api import Resource
from crm_assets.errors import Cancelled, CrmAssetsError, CrmError, EndlessListing, UnexpectedResponse, own_error
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import NextRequest
from crm_assets.extract.rest_api import rest_api_resource
from crm_assets.text import counted


@dataclass(frozen=True)
class Page:
    """One page. `next_request` is None on the last one."""

    records: list[Any]
    next_request: NextRequest | None


def read_pages(
    resource: Resource, connection: Connection, traffic: Traffic, start: NextRequest | None = None
) -> Iterator[Page]:
    """Yield the pages of `resource`, the records as the CRM sent them, without the page cursor.

    Args:
        resource: what is listed.
        connection: address, login and limits.
        traffic: where the cost is counted.
        start: request for the page to begin with; None for the first.

    Raises:
        CrmError: the listing could not be read to its end.
        EndlessListing: a cursor or a page came twice.
        Cancelled: somebody ended the run.
    """
    pages = iter(rest_api_resource(resource, connection, traffic, start) | _whole_pages())
    guard = _Guard(resource.name, connection, start)
    while True:
        try:
            page = next(pages, None)
            if page is not None:
                guard.check(page)
        except Exception as error:
            raise redacted_error(own_error(error, resource.name), connection) from None
        if page is None:
            return
        if connection.cancelled.is_set():
            raise Cancelled(f"{resource.name}: reading was cancelled.")
        yield page


def redacted_error(error: CrmAssetsError, connection: Connection) -> CrmAssetsError:
    """Return `error` without the login of `connection`, which the CRM may have sent back in a cursor."""
    text = connection.redacted(str(error))
    if text == str(error):
        return error
    if isinstance(error, CrmError):
        return type(error)(error.resource, connection.redacted(error.why), error.advice, status=error.status)
    return type(error)(text)


@dlt.transformer
def _whole_pages(page: PageData[Any]) -> Page:
    # A transformer gets pages; whoever iterates the resource itself gets records. It returns instead of yielding:
    # dlt takes turns between generators, and would request another page before it hands this one over.
    return Page(list(page), NextRequest.of(page.request) if page.paginator.has_next_page else None)


class _Guard:
    """Gives up a listing that would never end, or takes too long."""

    def __init__(self, resource: str, connection: Connection, start: NextRequest | None) -> None:
        self._resource = resource
        self._connection = connection
        self._seen = {str(start)}
        self._last_records: list[Any] | None = None
        self._started = monotonic()

    def check(self, page: Page) -> None:
        if page.next_request is None:
            return
        request = str(page.next_request)
        if request in self._seen:
            cursor = ", ".join(f"{name}={value}" for name, value in (page.next_request.params or {}).items())
            raise self._endless(f"the request for the next page ({cursor}) came twice")
        if page.records == self._last_records:
            raise self._endless("the same page came twice in a row")
        if monotonic() - self._started > self._connection.listing_seconds:
            section = self._connection.section
            raise UnexpectedResponse(
                self._resource,
                f"the listing took more than {self._connection.listing_seconds:,.0f} s, {self._after()}",
                f"Its table is untouched, and the next run resumes the listing. Set {section}.listing_seconds higher, "
                f"or a larger {section}.page_size.",
            )
        self._seen.add(request)
        self._last_records = page.records

    def _after(self) -> str:
        return f"after {counted(len(self._seen), 'page')}"

    def _endless(self, why: str) -> EndlessListing:
        return EndlessListing(
            self._resource,
            f"{why}, {self._after()}: the listing would never end",
            "Its table is untouched. Report it to the CRM's support; "
            f"a different {self._connection.section}.page_size may help.",
        )
