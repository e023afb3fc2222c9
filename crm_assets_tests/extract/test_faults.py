"""What a fault in the middle does to a listing, whatever API and whatever way of paging: the same table for all."""

import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from crm_assets.errors import CrmAssetsError, CrmError, CrmUnavailable, EndlessListing, LoginRefused, UnexpectedResponse
from crm_assets.extract.connect import connect
from crm_assets.extract.fetch import Fetched, Listings, fetch
from crm_assets.extract.progress import ProgressListener
from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL
from crm_assets_tests.sandbox_apis import RESOURCES_OF, account_of, records_of

SILENT = ProgressListener(lambda _: None, lambda _: None)
OTHER = "milestone"
"""A resource that is read beside each listing, and has no faults."""
SECRETS = (EMAIL, API_KEY, b64encode(f"{EMAIL}:{API_KEY}".encode()).decode())


@dataclass(frozen=True)
class Listed:
    """A listing, and where in it a fault comes up.

    Attributes:
        api: through which it is read.
        resource: what is listed.
        path: pattern of the path at which the fault comes up.
        after: how many requests are answered well before.
        parent: the resource of the parent of whose children alone the requests fail.
    """

    api: ApiName
    resource: str
    path: str
    after: int = 0
    parent: str | None = None

    def __str__(self) -> str:
        return f"{self.api}-{self.resource}{f'-of-{self.parent}' if self.parent else ''}"


V1_CONTACTS = Listed("v1", "contacts", "/v1/contacts", after=1)
V1_NOTES = Listed("v1", "notes", "/v1/notes")
CONTACTS = Listed("agilecrm", "contacts", "/dev/api/contacts", after=1)
COMPANIES = Listed("agilecrm", "companies", "/dev/api/contacts/companies/list", after=1)
DEALS = Listed("agilecrm", "deals", "/dev/api/opportunity", after=1)
CAMPAIGNS = Listed("agilecrm", "campaigns", "/dev/api/workflows", after=1)
TASKS = Listed("agilecrm", "tasks", "/dev/api/tasks/based", after=1)
EVENTS = Listed("agilecrm", "events", "/dev/api/events", after=2)
FILTERS = Listed("agilecrm", "ticket_filters", "/dev/api/tickets/filters")
NOTES_OF_CONTACTS = Listed("agilecrm", "notes", r"/dev/api/contacts/\d+/notes", parent="contacts")
NOTES_OF_DEALS = Listed("agilecrm", "notes", r"/dev/api/opportunity/\d+/notes", parent="deals")
DOCUMENTS = Listed("agilecrm", "documents", r"/dev/api/documents/contact/\d+/docs", parent="contacts")
TICKETS = Listed("agilecrm", "tickets", "/dev/api/tickets/filter", parent="ticket_filters")
LISTED = (V1_CONTACTS, V1_NOTES, CONTACTS, COMPANIES, TASKS, EVENTS, NOTES_OF_CONTACTS, NOTES_OF_DEALS, TICKETS)
ALIKE = (DEALS, CAMPAIGNS, FILTERS, DOCUMENTS)
"""Listings that are read as others are."""
SHOWN = (V1_NOTES, CONTACTS, NOTES_OF_CONTACTS)
"""A single page, pages, and children: those that show what the client makes of each fault."""


@dataclass(frozen=True)
class Expected:
    """What becomes of a listing while there is a fault.

    Attributes:
        kind: of the error.
        words: pattern of what the error says, by API or for both.
        attempts: how often the request is sent.
    """

    kind: type[CrmError]
    words: str | dict[ApiName, str]
    attempts: int = 4

    def said(self, listed: Listed) -> str:
        words = self.words if isinstance(self.words, str) else self.words[listed.api]
        after = rf" after {self.attempts} attempts" if self.attempts > 1 else ""
        return rf"^{listed.resource}: .*{words}.* from http://127\.0\.0\.1:\d+{listed.path}{after}"


TABLE = {
    "429": Expected(CrmUnavailable, "HTTP 429"),
    "503": Expected(CrmUnavailable, "HTTP 503"),
    "501": Expected(CrmUnavailable, "HTTP 501", 1),
    "400": Expected(UnexpectedResponse, "HTTP 400", 1),
    "403": Expected(LoginRefused, "HTTP 403", 1),
    "error_envelope": Expected(
        UnexpectedResponse,
        {
            "v1": "HTTP 200 with no list under `data`",
            "agilecrm": r"HTTP 200 with an object instead of a list under `\$`",
        },
    ),
    "null_data": Expected(
        UnexpectedResponse,
        {"v1": "HTTP 200 with no list under `data`", "agilecrm": r"HTTP 200 with no list under `\$`"},
    ),
    "html": Expected(
        UnexpectedResponse,
        {"v1": "HTTP 200 with an HTML page", "agilecrm": "HTTP 200 with a response of type text/html .*an HTML page"},
    ),
    "half_json": Expected(UnexpectedResponse, "HTTP 200 with invalid or cut-off JSON"),
    "cut_off": Expected(CrmUnavailable, "a body that was cut off"),
    "reset": Expected(CrmUnavailable, "no connection"),
}
"""What each fault does."""
TELLING = ("400", "503", "null_data")
"""One fault of each sort: one that is not retried, one of the server, one of the body."""


def of_each_listing(faults: Collection[str]) -> pytest.MarkDecorator:
    """Run a test for each of these faults in each listing."""

    def is_thorough(listed: Listed, fault: str) -> bool:
        return listed in ALIKE or (listed not in SHOWN and fault not in TELLING)

    cases = [
        pytest.param(
            listed, fault, id=f"{listed}-{fault}", marks=[pytest.mark.thorough] if is_thorough(listed, fault) else []
        )
        for listed in (*LISTED, *ALIKE)
        for fault in faults
    ]
    return pytest.mark.parametrize(("listed", "fault"), cases)


class Reading:
    """Reads one listing of a small CRM, and `OTHER` beside it."""

    def __init__(self, sandbox: Sandbox, directory: Path, listed: Listed) -> None:
        self.sandbox, self.directory, self.listed = sandbox, directory, listed

    def spoil(self, fault: str, times: int | None = None) -> None:
        """Let requests for the listing fail; see `Fault.parse`."""
        parent = str(self._a_parent(self.listed.parent)) if self.listed.parent else None
        what = Fault.parse(f"{self.listed.resource}={fault}")
        self.sandbox.fault(replace(what, times=times, after=self.listed.after, parent=parent))

    def _a_parent(self, resource: str) -> int:
        """Return the identifier of a record of `resource` that has children."""
        parents = self.sandbox.relations.parents(self.listed.resource).values()
        having = {one for found in parents for one in found.get(resource, ())}
        return next(int(one["id"]) for one in self.sandbox.crm.records(resource) if int(one["id"]) in having)

    def read(self, **limits: Any) -> Listings:
        """Read it, as far as it goes."""
        account = account_of(self.listed.api, data_dir=self.directory)
        with connect(account) as connection:
            resources = account.select([self.listed.resource, OTHER])
            return fetch(account, resources, replace(connection, **limits), self.directory, SILENT)

    def whole(self) -> Fetched:
        """Read it, and compare it with what the CRM has."""
        listings = self.read()
        assert not listings.failed
        [listing] = [one for one in listings.complete if one.resource == self.listed.resource]
        self.compare(listing)
        return listing

    def compare(self, listing: Fetched) -> None:
        """Compare a listing with what the CRM has, record by record."""
        records = records_of(self.listed.api, self.sandbox, self.listed.resource)
        found = sorted(one for table in listing.spooled.newest().tables() for one in table["id"].to_pylist())
        assert found == sorted(int(record["id"]) for record in records)
        assert found

    def failure(self, **limits: Any) -> CrmAssetsError:
        """Read it, and return why it failed. The other resource must not, and no login be told."""
        listings = self.read(**limits)
        assert [one.resource for one in listings.complete] == [OTHER]
        [failure] = listings.failed.values()
        assert not [secret for secret in SECRETS if secret in f"{failure}{failure!r}"]
        return failure


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Listed], Reading]]:
    counts = dict.fromkeys(RESOURCES_OF["v1"], 8) | {"tasks": 12, OTHER: 1}
    with Sandbox(counts, email=EMAIL, api_key=API_KEY) as sandbox:
        settings = {"BASE_URL": sandbox.base_url, "EMAIL": EMAIL, "API_KEY": API_KEY, "PAGE_SIZE": "3"}
        for name, value in {**settings, "EVENTS_SPAN_DAYS": "2000"}.items():
            monkeypatch.setenv(f"SOURCES__CRM__{name}", value)
        yield lambda listed: Reading(sandbox, tmp_path, listed)


ReadingOf = Callable[[Listed], Reading]


@of_each_listing(TABLE)
def test_a_fault_fails_the_listing_alone_and_is_named_and_nothing_is_lost_when_it_is_over(
    reading: ReadingOf, listed: Listed, fault: str
) -> None:
    expected, one = TABLE[fault], reading(listed)
    one.spoil(fault)
    failure = one.failure()
    assert type(failure) is expected.kind
    assert re.search(expected.said(listed), str(failure))
    if expected.kind is UnexpectedResponse and expected.attempts > 1:
        assert "Its table is untouched." in str(failure)
    if listed.parent:
        assert f" of {listed.parent} with id " in str(failure)
    one.sandbox.clear_faults()
    one.whole()


@of_each_listing([fault for fault, expected in TABLE.items() if expected.attempts > 1])
def test_a_fault_that_passes_is_retried_and_nothing_is_lost(reading: ReadingOf, listed: Listed, fault: str) -> None:
    one = reading(listed)
    one.spoil(fault, times=3)
    listing = one.whole()
    assert listing.traffic.retries == 3


@pytest.mark.parametrize("listed", [V1_CONTACTS, COMPANIES, NOTES_OF_CONTACTS], ids=str)
def test_a_response_that_never_comes_fails_the_listing_alone(reading: ReadingOf, listed: Listed) -> None:
    one = reading(listed)
    one.spoil("hang")
    failure = one.failure(read_timeout=0.5)
    assert re.search(Expected(CrmUnavailable, r"no answer within 0\.5 s").said(listed), str(failure))
    one.sandbox.clear_faults()
    one.whole()


CURSORS = {
    "repeat_cursor": {
        V1_CONTACTS: "came twice",
        V1_NOTES: "the listing was cut: a single page",
        CONTACTS: "came twice",
        COMPANIES: "came twice",
        TASKS: "came twice",
        EVENTS: "the listing was cut: a window of time",
        NOTES_OF_CONTACTS: "came twice",
        NOTES_OF_DEALS: "the listing was cut: a single page",
        TICKETS: "came twice",
    },
    "extra_cursor": {
        V1_NOTES: "the listing was cut: a single page",
        EVENTS: "the listing was cut: a window of time",
        NOTES_OF_CONTACTS: "came twice",
        NOTES_OF_DEALS: "the listing was cut: a single page",
    },
}
"""What is said of a cursor that leads nowhere, where it does any harm."""


@pytest.mark.parametrize("listed", LISTED, ids=str)
@pytest.mark.parametrize("fault", CURSORS)
def test_a_cursor_that_leads_nowhere_fails_the_listing_alone_or_does_no_harm(
    reading: ReadingOf, listed: Listed, fault: str
) -> None:
    one = reading(listed)
    one.spoil(fault)
    if words := CURSORS[fault].get(listed):
        failure = one.failure()
        assert type(failure) is (EndlessListing if words == "came twice" else UnexpectedResponse)
        assert re.search(f"^{listed.resource}: .*{words}", str(failure))
        one.sandbox.clear_faults()
    one.whole()
