"""A listing as pages: the unit from the socket to the disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import dlt
from dlt.sources.helpers.rest_client.client import PageData

from crm_assets.apis.api import ProcessingStep, Resource
from crm_assets.errors import Cancelled, CrmAssetsError, CrmError, EndlessListing, UnexpectedResponse, own_error
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import NextRequest, reported_total
from crm_assets.extract.rest_api import rest_api_resource
from crm_assets.text import counted

_MOST_EMPTY_PAGES = 100
"""Empty pages in a row after which a listing counts as endless."""


@dataclass(frozen=True)
class Page:
    """One page. `next_request` is None on the last one."""

    records: list[Any]
    next_request: NextRequest | None
    total: int | None = None
    """How many records the CRM says that there are, which are not to be more; None if it says nothing."""
    count: int | None = None
    """How many records a record says that there are: one may have come or gone since."""
    place: str = ""
    """Scheme, host and port that it came from."""


def read_pages(
    resource: Resource,
    connection: Connection,
    traffic: Traffic,
    start: NextRequest | None = None,
    *,
    records_before: int = 0,
) -> Iterator[Page]:
    """Yield the pages of `resource`, the records as the CRM sent them, without the page cursor.

    Args:
        resource: what is listed.
        connection: address, login and limits.
        traffic: where the cost is counted.
        start: request for the page to begin with; None for the first.
        records_before: how many records the pages before `start` had.

    Raises:
        CrmError: the listing could not be read to its end.
        EndlessListing: a cursor or a page came twice.
        Cancelled: somebody ended the run.
    """
    guard = Guard(resource, connection, start, records_before)
    with CrmSession(resource, connection, traffic) as session:
        pages = iter(rest_api_resource(resource, connection, session, start) | _whole_pages(resource))
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
            yield _after_steps(page, resource.processing_steps)


def _after_steps(page: Page, steps: Sequence[ProcessingStep]) -> Page:
    # Who filters has another number of records than the CRM.
    return replace(page, records=processed(page.records, steps), total=None, count=None) if steps else page


def processed(records: list[Any], steps: Sequence[ProcessingStep]) -> list[Any]:
    """Return `records` after `steps`, as dlt carries them out one after the other."""
    for step in steps:
        match step.kind:
            case "filter":
                records = [record for record in records if step.function(record)]
            case "map":
                records = [step.function(record) for record in records]
            case _:
                records = [made for record in records for made in step.function(record)]
    return records


def redacted_error(error: CrmAssetsError, connection: Connection) -> CrmAssetsError:
    """Return `error` without the login of `connection`, which the CRM may have sent back in a cursor."""
    text = connection.redacted(str(error))
    if text == str(error):
        return error
    if isinstance(error, CrmError):
        return type(error)(error.resource, connection.redacted(error.why), error.advice, status=error.status)
    return type(error)(text)


@dlt.transformer
def _whole_pages(page: PageData[Any], resource: Resource) -> Page:
    # A transformer gets pages; whoever iterates the resource itself gets records. It returns instead of yielding:
    # dlt takes turns between generators, and would request another page before it hands this one over.
    return page_of(page, resource)


def page_of(page: PageData[Any], resource: Resource) -> Page:
    """Return a page of dlt's as plain values, its records without what is not part of them."""
    following = NextRequest.of(page.request) if page.paginator.has_next_page else None
    records = list(page)
    count = _count_on(records, resource.endpoint.get("total_field"))
    for field in resource.remove_fields:
        for record in records:
            if isinstance(record, dict):
                record.pop(field, None)
    return Page(records, following, reported_total(page), count, _place(page.response.url))


def _count_on(records: Sequence[Any], field: str | None) -> int | None:
    """Return the number that `field` of the first record holds, if it holds one."""
    first = records[0] if records else None
    found = str(first.get(field)) if field and isinstance(first, dict) else ""
    return int(found) if found.isascii() and found.isdigit() else None


def _place(url: str) -> str:
    """Return scheme, host and port of `url`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Guard:
    """Gives up a listing that would never end, or takes too long.

    Args:
        resource: what is listed, at one endpoint.
        connection: limits.
        start: request for the first page, where it is not the first of the listing.
        records_before: how many records the pages before it had.
    """

    def __init__(
        self, resource: Resource, connection: Connection, start: NextRequest | None = None, records_before: int = 0
    ) -> None:
        self._resource = resource.name
        self._has_windows = resource.paginator_type == "time_window"
        self._connection = connection
        self._seen = {str(start)}
        self._last_records: list[Any] = []
        self._records = records_before
        self._empty_pages = self._repeated = 0
        self._started = monotonic()

    def check(self, page: Page) -> None:
        """Look at the next page of the listing.

        Raises:
            EndlessListing: a request or a page comes again, or there is nothing but empty pages.
            UnexpectedResponse: it takes too long, goes on at another host, or has more records than the CRM says.
        """
        self._records += len(page.records)
        if page.total is not None and self._records > page.total:
            raise UnexpectedResponse(
                self._resource,
                f"the CRM says that there are {counted(page.total, 'record')}, and has sent {self._records:,}",
                "Its table is untouched. Check total_path of its paginator in the API's configuration: it must lead to "
                "the number of all records.",
            )
        if page.next_request is None:
            return
        self._check_place(page, page.next_request)
        request = str(page.next_request)
        if request in self._seen:
            cursor = ", ".join(f"{name}={value}" for name, value in (page.next_request.params or {}).items())
            raise self._endless(f"the request for the next page ({cursor or page.next_request.url}) came twice")
        if not self._has_windows:  # those end, may be empty for years, and have the same records at their borders
            self._check_progress(page)
        self._check_time()
        self._seen.add(request)
        self._last_records = page.records

    def _check_progress(self, page: Page) -> None:
        self._empty_pages = 0 if page.records else self._empty_pages + 1
        if self._empty_pages > _MOST_EMPTY_PAGES:
            raise self._endless(f"{self._empty_pages} pages in a row were empty")
        # Once may be as many new records between two pages as one has.
        self._repeated = self._repeated + 1 if page.records and page.records == self._last_records else 0
        if self._repeated > 1:
            raise self._endless("the same page came three times in a row")

    def _check_time(self) -> None:
        if monotonic() - self._started > self._connection.listing_seconds:
            section = self._connection.section
            raise UnexpectedResponse(
                self._resource,
                f"the listing took more than {self._connection.listing_seconds:,.0f} s, {self._after()}",
                f"Its table is untouched, and the next run resumes the listing. Set {section}.listing_seconds higher, "
                f"or a larger {section}.page_size.",
            )

    def _check_place(self, page: Page, following: NextRequest) -> None:
        """Keep the login from going to another host, wherever a page says that the next one is."""
        if _place(following.url) not in (page.place, page.place.replace("http://", "https://", 1)):
            raise UnexpectedResponse(
                self._resource,
                f"the next page is at another place, {_place(following.url)}, than this one, {page.place}; the login "
                "was not sent there",
                f"Its table is untouched. If the CRM has moved, check {self._connection.setting('base_url')}.",
            )

    def _after(self) -> str:
        return f"after {counted(len(self._seen), 'page')}"

    def _endless(self, why: str) -> EndlessListing:
        return EndlessListing(
            self._resource,
            f"{why}, {self._after()}: the listing would never end",
            "Its table is untouched. Report it to the CRM's support; "
            f"a different {self._connection.section}.page_size may help.",
        )
