"""The sandbox CRM: its records, its paging, its faults, its control, its life."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from crm_assets.models import MODELS
from crm_assets.sandbox.crm import BadCursor, UnknownRecord
from crm_assets.sandbox.faults import KINDS, Fault
from crm_assets.sandbox.listings import DEFAULT_COUNTS, LISTINGS
from crm_assets.sandbox.pages import Pages
from crm_assets.sandbox.process import SandboxFailed, sandbox_process
from crm_assets.sandbox.records import World
from crm_assets.sandbox.server import API_KEY, EMAIL, Sandbox

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SMALL = dict.fromkeys(LISTINGS, 12)
PAGED = [name for name, listing in LISTINGS.items() if listing.cursor_param]
SINGLE = [name for name, listing in LISTINGS.items() if not listing.cursor_param]


class Answer:
    """One answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]


def login(email: str = EMAIL, key: str = API_KEY, encoding: str = "utf-8") -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{email}:{key}".encode(encoding)).decode()}


def connect(base_url: str, timeout: float = 10) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=timeout)


def ask(
    where: Sandbox | str,
    path: str,
    method: str = "GET",
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout: float = 10,
) -> Answer:
    connection = connect(where if isinstance(where, str) else where.base_url, timeout)
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    try:
        connection.request(method, path, text, {**login(), **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def walk(sandbox: Sandbox, resource: str, limit: int = 100) -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    cursor: str | None = ""
    while True:
        page = ask(sandbox, f"/v1/{resource}?limit={limit}&cursor={quote(cursor or '')}").data
        pages.append(page)
        cursor = page[-1].pop("cursor", None) if page else None
        if not cursor:
            return pages


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ids(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["id"]) for record in records]


@pytest.fixture(scope="module")
def usual() -> Iterator[Sandbox]:
    """The default sandbox, for tests that change nothing."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def records(usual: Sandbox) -> dict[str, list[dict[str, Any]]]:
    """Every record of the default sandbox, as sent."""
    return {resource: list(usual.crm.records(resource)) for resource in LISTINGS}


@pytest.fixture(scope="module")
def models(records: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
    """The same through their models."""
    return {name: [MODELS[name].model_validate(record) for record in sent] for name, sent in records.items()}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small sandbox of the test's own."""
    with Sandbox(SMALL) as own:
        yield own


# Records


@pytest.mark.parametrize("resource", MODELS)
def test_every_record_passes_its_model(models: dict[str, list[Any]], resource: str) -> None:
    assert len(models[resource]) == DEFAULT_COUNTS[resource]


@pytest.mark.parametrize("resource", MODELS)
def test_every_declared_field_carries_a_value_somewhere(models: dict[str, list[Any]], resource: str) -> None:
    never = {"trashed_time", "restored_time"}  # nothing in the sandbox was thrown away
    if resource == "companies":
        never.add("lead_converted_time")
    fields = set(MODELS[resource].model_fields) - never
    assert {field for field in fields if all(getattr(record, field) is None for record in models[resource])} == set()


def test_two_starts_with_one_seed_serve_the_same_bytes() -> None:
    answers = []
    for _ in range(2):
        with Sandbox(SMALL, seed=5) as sandbox:
            answers.append([ask(sandbox, f"/v1/{resource}").body for resource in LISTINGS])
    assert answers[0] == answers[1]


def test_another_seed_serves_other_records() -> None:
    first, second = World(1, SMALL), World(2, SMALL)
    assert first.record("contacts", 0) != second.record("contacts", 0)


@pytest.mark.parametrize("resource", LISTINGS)
def test_ids_are_unique_and_below_two_to_the_53(records: dict[str, list[dict[str, Any]]], resource: str) -> None:
    numbers = ids(records[resource])
    assert len(set(numbers)) == len(numbers)
    assert all(number < 2**53 and (number in (5, 981) or len(str(number)) == 16) for number in numbers)


def test_a_number_leads_back_from_its_id() -> None:
    world = World(3, SMALL)
    assert [world.index_of("deals", world.id_of("deals", index)) for index in range(1000)] == list(range(1000))


REFERENCES: dict[tuple[str, str], Callable[[dict[str, Any]], list[Any]]] = {
    ("contacts", "companies"): lambda r: [r["contact_company_id"]] if r.get("contact_company_id") else [],
    ("deals", "contacts"): lambda r: (r.get("contact_ids") or []) + [c["id"] for c in r.get("contacts") or []],
    ("deals", "notes"): lambda r: (r.get("note_ids") or []) + [note["id"] for note in r.get("notes") or []],
    ("deals", "milestone"): lambda r: [r["pipeline_id"]] if r.get("pipeline_id") else [],
    ("notes", "contacts"): lambda r: r.get("contact_ids") or [],
    ("notes", "deals"): lambda r: r.get("deal_ids") or [],
    ("tasks", "deals"): lambda r: (r.get("deal_ids") or []) + [deal["id"] for deal in r.get("deals") or []],
    ("tasks", "notes"): lambda r: r.get("note_ids") or [],
    ("tasks", "contacts"): lambda r: [c["id"] for c in r.get("contacts") or []],
    ("events", "contacts"): lambda r: [c["id"] for c in r.get("contacts") or []],
    ("documents", "contacts"): lambda r: (
        (r.get("contact_ids") or []) + [c["id"] for c in r.get("relatedContacts") or []]
    ),
    ("documents", "deals"): lambda r: r.get("deal_ids") or [],
    ("tickets", "contacts"): lambda r: (r.get("contact_ids") or []) + ([r["contactID"]] if r.get("contactID") else []),
}


@pytest.mark.parametrize(("resource", "target"), REFERENCES)
def test_every_reference_leads_to_a_record(
    records: dict[str, list[dict[str, Any]]], resource: str, target: str
) -> None:
    meant = [int(one) for record in records[resource] for one in REFERENCES[resource, target](record)]
    assert meant
    assert set(meant) <= set(ids(records[target]))


def test_a_mention_of_a_contact_agrees_with_the_contact(records: dict[str, list[dict[str, Any]]]) -> None:
    def name(properties: list[dict[str, Any]]) -> list[Any]:
        return [part["value"] for part in properties if part["name"] in ("first_name", "last_name", "email")]

    by_id = {int(contact["id"]): name(contact["properties"]) for contact in records["contacts"]}
    mentions = [mention for note in records["notes"] for mention in note.get("contacts") or []]
    assert mentions
    assert all(by_id[int(mention["id"])] == name(mention["properties"]) for mention in mentions)


@pytest.mark.parametrize("resource", ["deals", "notes", "documents"])
def test_the_ids_of_a_record_and_its_mentions_agree(records: dict[str, list[dict[str, Any]]], resource: str) -> None:
    pairs = [(record.get("contact_ids"), record.get("contacts")) for record in records[resource]]
    both = [(given, ids(mentions)) for given, mentions in pairs if given and mentions]
    assert both
    assert all([int(one) for one in given] == mentions for given, mentions in both)


@pytest.mark.parametrize("resource", LISTINGS)
def test_no_time_is_before_2015_or_in_the_future(models: dict[str, list[Any]], resource: str) -> None:
    planned = {"due", "close_date", "start", "end"}
    for record in models[resource]:
        for field, value in record:
            if isinstance(value, datetime) and field not in planned:
                assert datetime(2015, 1, 1, tzinfo=UTC) <= value <= NOW, (field, value)
            elif isinstance(value, datetime):
                assert value.year < 2027, (field, value)


@pytest.mark.parametrize("resource", ["contacts", "companies", "deals", "campaigns"])
def test_nothing_changed_before_it_was_created(models: dict[str, list[Any]], resource: str) -> None:
    pairs = [(record.created_time, record.updated_time) for record in models[resource]]
    assert all(created and (updated is None or created <= updated) for created, updated in pairs)


def test_a_ticket_happens_in_order(models: dict[str, list[Any]]) -> None:
    for ticket in models["tickets"]:
        times = [ticket.created_time, ticket.first_replied_time, ticket.last_agent_replied_time]
        known = [time for time in times if time]
        assert all(before <= after for before, after in pairwise(known))


def test_a_deal_stands_at_a_milestone_of_its_pipeline(models: dict[str, list[Any]]) -> None:
    stages = {pipeline.id: pipeline.milestones.split(",") for pipeline in models["milestone"]}
    deals = [deal for deal in models["deals"] if deal.pipeline_id]
    assert all(deal.milestone in stages[deal.pipeline_id] for deal in deals)


def test_amounts_and_probabilities_are_possible(models: dict[str, list[Any]]) -> None:
    for deal in models["deals"]:
        assert deal.probability is None or 0 <= deal.probability <= 100
        assert all(amount is None or amount >= 0 for amount in (deal.expected_value, deal.discount_amt))


def test_every_contact_has_a_name_and_an_address(records: dict[str, list[dict[str, Any]]]) -> None:
    for contact in records["contacts"]:
        values = {part["name"]: part["value"] for part in contact["properties"]}
        assert values["first_name"] and values["last_name"] and "@" in values["email"]
        assert values["email"].isascii()


def properties_of(contact: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = contact["properties"]
    return found


HABITS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "an id as text": ("contacts", lambda r: isinstance(r["id"], str)),
    "an id that is small": ("deals", lambda r: int(r["id"]) in (5, 981)),
    "a number among ids that are text": ("deals", lambda r: any(isinstance(i, int) for i in r["contact_ids"] or [])),
    "a time as numeric text": (
        "contacts",
        lambda r: isinstance(r["created_time"], str) and r["created_time"].isdigit(),
    ),
    "a time in seconds": ("contacts", lambda r: isinstance(r["created_time"], int) and r["created_time"] < 10**11),
    "a time in milliseconds": ("tickets", lambda r: isinstance(r["created_time"], int) and r["created_time"] > 10**11),
    "a time in ISO 8601": ("tickets", lambda r: "T" in str(r["created_time"])),
    "a time that is 0": ("contacts", lambda r: r.get("updated_time") == 0),
    "a day that is unset": ("tasks", lambda r: r.get("due") == -19_800),
    "two phones": ("contacts", lambda r: Counter(p["name"] for p in properties_of(r))["phone"] == 2),
    "a property without type": ("contacts", lambda r: any("type" not in part for part in properties_of(r))),
    "a property that is a number": ("contacts", lambda r: any(isinstance(p["value"], int) for p in properties_of(r))),
    "a property that is JSON": ("contacts", lambda r: any(str(p["value"])[:1] == "{" for p in properties_of(r))),
    "an amount as text": ("deals", lambda r: isinstance(r.get("expected_value"), str)),
    "null": ("contacts", lambda r: None in r.values()),
    "an absent field": ("contacts", lambda r: not set(MODELS["contacts"].model_fields) <= set(r)),
    "an empty list": ("contacts", lambda r: r.get("tags") == []),
    "an undeclared truth value": ("contacts", lambda r: isinstance(r.get("x_newsletter"), bool)),
    "the same field as text": ("contacts", lambda r: isinstance(r.get("x_newsletter"), str)),
    "an undeclared number": ("contacts", lambda r: isinstance(r.get("customScore"), float)),
    "an undeclared text": ("deals", lambda r: isinstance(r.get("forecastCategory"), str)),
    "an undeclared object": ("tickets", lambda r: isinstance(r.get("satisfaction"), dict)),
    "the same field as a list": ("tickets", lambda r: isinstance(r.get("satisfaction"), list)),
    "a name beyond ASCII": ("contacts", lambda r: not properties_of(r)[0]["value"].isascii()),
}


@pytest.mark.parametrize("habit", HABITS)
def test_the_default_sandbox_has_the_habit(records: dict[str, list[dict[str, Any]]], habit: str) -> None:
    resource, shows = HABITS[habit]
    showing = [
        record for record in records[resource] if shows({**dict.fromkeys(MODELS[resource].model_fields), **record})
    ]
    if habit == "an absent field":
        showing = [record for record in records[resource] if shows(record)]
    assert 0 < len(showing) < len(records[resource])


@pytest.mark.parametrize("resource", ["notes", "campaigns"])
def test_only_the_first_record_carries_the_count(records: dict[str, list[dict[str, Any]]], resource: str) -> None:
    assert int(records[resource][0]["count"]) == DEFAULT_COUNTS[resource]
    assert not any("count" in record for record in records[resource][1:])


def test_records_without_anything_to_refer_to_are_still_right() -> None:
    world = World(1, {**dict.fromkeys(LISTINGS, 0), "deals": 50, "tickets": 50, "notes": 50})
    for resource in ("deals", "tickets", "tasks", "documents", "contacts"):
        for index in range(50):
            MODELS[resource].model_validate(world.record(resource, index))
    assert not any(world.record("deals", index).get("contact_ids") for index in range(50))


# Listings


@pytest.mark.parametrize("resource", PAGED)
def test_a_walk_along_the_cursors_gives_every_record_once(usual: Sandbox, resource: str) -> None:
    found = [record for page in walk(usual, resource, 60) for record in page]
    assert found == list(usual.crm.records(resource))


def test_a_page_has_a_hundred_records_unless_told_otherwise(usual: Sandbox) -> None:
    assert len(ask(usual, "/v1/contacts").data) == 100
    assert len(ask(usual, "/v1/contacts?limit=7").data) == 7


@pytest.mark.parametrize("resource", SINGLE)
def test_a_single_page_holds_the_whole_listing_whatever_the_limit(usual: Sandbox, resource: str) -> None:
    page = ask(usual, f"/v1/{resource}?limit=2").data
    assert len(page) == DEFAULT_COUNTS[resource]
    assert not any("cursor" in record for record in page)


def test_only_the_last_record_of_a_page_carries_the_cursor(usual: Sandbox) -> None:
    page = ask(usual, "/v1/contacts?limit=5").data
    assert ["cursor" in record for record in page] == [False] * 4 + [True]


def test_the_last_page_has_no_cursor_or_null_or_an_empty_one() -> None:
    with Sandbox(SMALL) as sandbox:
        ends = {resource: ask(sandbox, f"/v1/{resource}").data[-1].get("cursor", "absent") for resource in PAGED}
    assert ends == {"contacts": "absent", "companies": None, "deals": "", "campaigns": None}


def test_a_page_that_ends_with_the_listing_has_no_cursor(sandbox: Sandbox) -> None:
    assert [len(page) for page in walk(sandbox, "contacts", 6)] == [6, 6]


def test_an_empty_listing_is_an_empty_list() -> None:
    with Sandbox({"contacts": 0, "tickets": 0}) as sandbox:
        assert [ask(sandbox, f"/v1/{resource}").data for resource in ("contacts", "tickets")] == [[], []]


@pytest.mark.parametrize("cursor", ["nonsense", "MTI6MTIzNDU2Nzg=", "%E2%82%AC", "LTE6YQ=="])
def test_a_wrong_cursor_answers_500(sandbox: Sandbox, cursor: str) -> None:
    assert ask(sandbox, f"/v1/contacts?cursor={cursor}").status == 500


def test_the_cursor_of_another_listing_answers_500(sandbox: Sandbox) -> None:
    cursor = ask(sandbox, "/v1/companies?limit=2").data[-1]["cursor"]
    assert ask(sandbox, f"/v1/contacts?cursor={quote(cursor)}").status == 500


@pytest.mark.parametrize("limit", ["0", "-1", "many", "", "9" * 50])
def test_a_limit_that_is_no_number_answers_400_and_says_so(sandbox: Sandbox, limit: str) -> None:
    answer = ask(sandbox, f"/v1/contacts?limit={limit}")
    assert (answer.status, answer.json["field"]) == (400, "limit")


def test_a_cursor_stays_right_while_records_come_and_go(sandbox: Sandbox) -> None:
    before = list(sandbox.crm.records("contacts"))
    first = ask(sandbox, "/v1/contacts?limit=5").data
    cursor = first[-1]["cursor"]
    for gone in (before[0], before[3], before[5]):
        sandbox.crm.delete("contacts", gone["id"])
    new = sandbox.crm.create("contacts")
    rest = ask(sandbox, f"/v1/contacts?cursor={quote(cursor)}").data
    assert ids(rest) == [*ids(before[6:]), *ids([new])]


def test_a_million_contacts_are_listed_to_their_end_without_being_made() -> None:
    with Sandbox({"contacts": 1_000_000}) as sandbox:
        cursor = sandbox.crm.cursor("contacts", 999_990)
        page = ask(sandbox, f"/v1/contacts?cursor={quote(cursor)}").data
        assert len(page) == 10
        assert int(ask(sandbox, "/", headers={"Accept": "application/json"}).json["records"]["contacts"]) == 1_000_000


def test_an_unknown_path_answers_404_as_json(usual: Sandbox) -> None:
    answer = ask(usual, "/v1/secrets")
    assert answer.status == 404
    assert "/v1/secrets" in answer.json["error"]


def test_the_connection_is_kept_alive(sandbox: Sandbox) -> None:
    connection = connect(sandbox.base_url)
    for _ in range(3):
        connection.request("GET", "/v1/milestone", headers=login())
        connection.getresponse().read()
    connection.close()
    assert len({seen.port for seen in sandbox.log}) == 1


def test_the_log_tells_what_was_asked(sandbox: Sandbox) -> None:
    ask(sandbox, "/v1/deals?limit=3&cursor=", headers={"User-Agent": "tester/1"})
    seen = sandbox.log[-1]
    assert (seen.resource, seen.query, seen.user_agent, seen.has_authorization) == (
        "deals",
        {"limit": "3", "cursor": ""},
        "tester/1",
        True,
    )


def test_requests_are_counted_also_from_many_threads(sandbox: Sandbox) -> None:
    threads = [threading.Thread(target=ask, args=(sandbox, "/v1/milestone")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.requests == {"milestone": 20}


def test_a_page_that_has_not_changed_is_rendered_once(sandbox: Sandbox) -> None:
    pages = Pages(sandbox.crm)
    first = pages.page(LISTINGS["contacts"], None, 5)
    assert pages.page(LISTINGS["contacts"], None, 5) is first


def test_a_kept_page_is_not_served_after_a_change(sandbox: Sandbox) -> None:
    first = ask(sandbox, "/v1/deals").data[0]["id"]
    sandbox.crm.update("deals", first, name="Changed")
    assert ask(sandbox, "/v1/deals").data[0]["name"] == "Changed"


def test_kept_pages_stay_within_their_limit(usual: Sandbox) -> None:
    pages = Pages(usual.crm, most_kept=100_000)
    for start in range(0, 300, 10):
        pages.page(LISTINGS["contacts"], usual.crm.cursor("contacts", start), 10)
    assert 50_000 < pages.size <= 100_000


# Login


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        login(key="wrong"),
        login(email="wrong"),
        {"Authorization": "Basic !!"},
        {"Authorization": login()["Authorization"].replace("Basic", "Bearer")},
    ],
)
def test_a_wrong_login_answers_401_without_repeating_it(sandbox: Sandbox, headers: dict[str, str]) -> None:
    answer = ask(sandbox, "/v1/contacts", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert API_KEY.encode() not in answer.body and EMAIL.encode() not in answer.body and b"wrong:" not in answer.body


def test_a_refused_login_is_counted(sandbox: Sandbox) -> None:
    ask(sandbox, "/v1/contacts", headers=login(key="wrong"))
    assert sandbox.requests["contacts"] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_login_beyond_ascii_is_understood(encoding: str) -> None:
    email, key = "jürgen@müller.example", "a:b@c/d%ß"
    with Sandbox(SMALL, email=email, api_key=key) as sandbox:
        assert ask(sandbox, "/v1/milestone", headers=login(email, key, encoding)).status == 200


def test_a_login_beyond_latin_1_is_understood() -> None:
    with Sandbox(SMALL, email="健太@例え.example", api_key="鍵:鍵") as sandbox:
        assert ask(sandbox, "/v1/milestone", headers=login("健太@例え.example", "鍵:鍵")).status == 200
        assert ask(sandbox, "/v1/milestone", headers=login("芳芳@例え.example", "鍵:鍵")).status == 401
        assert ask(sandbox, "/v1/milestone", headers=login("??@??.example", "?:?")).status == 401


# Faults


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 403])
def test_the_fault_status_answers_that_status(sandbox: Sandbox, status: int) -> None:
    sandbox.fault(f"tickets={status}")
    answer = ask(sandbox, "/v1/tickets")
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")


def test_the_fault_status_can_ask_for_a_pause(sandbox: Sandbox) -> None:
    sandbox.fault(Fault("tickets", "status", status=429, retry_after="7", body="slow down"))
    answer = ask(sandbox, "/v1/tickets")
    assert (answer.headers["Retry-After"], answer.body) == ("7", b"slow down")


def test_the_fault_status_204_has_no_body(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=204x1")
    connection = connect(sandbox.base_url)
    connection.request("GET", "/v1/tickets", headers=login())
    head = connection.sock.recv(100_000)
    connection.close()
    assert head.startswith(b"HTTP/1.1 204 ") and b"Content-Length: 0" in head and head.endswith(b"\r\n\r\n")


def test_the_fault_error_envelope_says_error_with_status_200(sandbox: Sandbox) -> None:
    sandbox.fault(Fault("tickets", "error_envelope", body="no"))
    answer = ask(sandbox, "/v1/tickets")
    assert (answer.status, answer.json) == (200, {"error": "no"})


def test_the_fault_html_answers_a_page_with_status_200(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=html")
    answer = ask(sandbox, "/v1/tickets")
    assert (answer.status, answer.body[:15]) == (200, b"<!doctype html>")


def test_the_fault_half_json_ends_in_the_middle(sandbox: Sandbox) -> None:
    whole = ask(sandbox, "/v1/tickets").body
    sandbox.fault("tickets=half_json")
    answer = ask(sandbox, "/v1/tickets")
    assert answer.body == whole[: len(whole) // 2]
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_the_fault_cut_off_promises_more_than_it_sends(sandbox: Sandbox) -> None:
    whole = ask(sandbox, "/v1/tickets").body
    sandbox.fault("tickets=cut_off")
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(sandbox, "/v1/tickets")
    assert cut.value.partial == whole[: len(whole) // 2]


def test_the_fault_reset_resets_the_connection(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=reset")
    with pytest.raises(ConnectionResetError) as reset:
        ask(sandbox, "/v1/tickets")
    assert reset.type is ConnectionResetError  # not RemoteDisconnected, which an orderly end gives


def test_the_fault_hang_gives_no_answer_until_it_is_released(sandbox: Sandbox) -> None:
    release = threading.Event()
    sandbox.fault(Fault("tickets", "hang", times=1, release=release))
    connection = connect(sandbox.base_url)
    connection.request("GET", "/v1/tickets", headers=login())
    connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.sock.recv(1, socket.MSG_PEEK)
    release.set()
    connection.sock.settimeout(10)
    assert len(Answer(connection.getresponse()).data) == 12
    connection.close()


class WatchedEvent(threading.Event):
    """An event that tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for.set()
        return super().wait(timeout)


def test_stopping_ends_a_request_that_hangs() -> None:
    release = WatchedEvent()
    with Sandbox(SMALL) as sandbox:
        sandbox.fault(Fault("tickets", "hang", release=release))
        connection = connect(sandbox.base_url)
        connection.request("GET", "/v1/tickets", headers=login())
        assert release.waited_for.wait(10)
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()


def test_the_fault_drip_sends_the_right_answer_in_bytes(sandbox: Sandbox) -> None:
    whole = ask(sandbox, "/v1/milestone").body
    sandbox.fault("milestone=drip,pause=0.001")
    connection = connect(sandbox.base_url)
    connection.request("GET", "/v1/milestone", headers=login())
    response = connection.getresponse()
    first = response.read1(1000)
    sandbox.clear_faults()
    assert len(first) < 100
    assert first + response.read() == whole
    connection.close()


def test_the_fault_null_data_has_no_list(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=null_data")
    assert ask(sandbox, "/v1/tickets").json == {"data": None}


def test_the_fault_repeat_cursor_never_ends(sandbox: Sandbox) -> None:
    sandbox.fault("contacts=repeat_cursor")
    cursors, cursor = [], ""
    for _ in range(3):
        cursor = ask(sandbox, f"/v1/contacts?limit=5&cursor={quote(cursor)}").data[-1]["cursor"]
        cursors.append(cursor)
    assert cursors[0] and len(set(cursors)) == 1


@pytest.mark.parametrize("resource", ["tickets", "contacts"])
def test_the_fault_extra_cursor_puts_one_on_the_last_record(sandbox: Sandbox, resource: str) -> None:
    sandbox.fault(f"{resource}=extra_cursor")
    assert ask(sandbox, f"/v1/{resource}").data[-1]["cursor"]


def test_the_fault_redirect_leads_elsewhere(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=redirect,location=http://127.0.0.1:1/")
    answer = ask(sandbox, "/v1/tickets")
    assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:1/")


def test_a_fault_strikes_as_often_as_told_after_as_many_good_answers_as_told(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503x2@1")
    assert [ask(sandbox, "/v1/tickets").status for _ in range(5)] == [200, 503, 503, 200, 200]


def test_a_fault_without_times_strikes_for_ever_until_cleared(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503")
    struck = [ask(sandbox, "/v1/tickets").status for _ in range(4)]
    sandbox.clear_faults()
    assert (struck, ask(sandbox, "/v1/tickets").status) == ([503] * 4, 200)


def test_a_fault_of_one_resource_leaves_the_others_alone(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503")
    assert ask(sandbox, "/v1/deals").status == 200


def test_a_fault_of_every_resource_counts_in_each(sandbox: Sandbox) -> None:
    sandbox.fault("*=503x1")
    statuses = [ask(sandbox, f"/v1/{resource}").status for resource in ("deals", "deals", "tickets", "tickets")]
    assert statuses == [503, 200, 503, 200]


def test_two_faults_of_one_resource_strike_one_after_the_other(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503x1")
    sandbox.fault("tickets=429x1@1")
    assert [ask(sandbox, "/v1/tickets").status for _ in range(4)] == [503, 200, 429, 200]


def test_a_wrong_login_does_not_use_a_fault_up(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503x1")
    ask(sandbox, "/v1/tickets", headers=login(key="wrong"))
    assert ask(sandbox, "/v1/tickets").status == 503


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tickets=503", Fault("tickets", "status", status=503)),
        ("tickets=503x2", Fault("tickets", "status", status=503, times=2)),
        ("deals=half_json", Fault("deals", "half_json")),
        ("contacts=resetx1@3", Fault("contacts", "reset", times=1, after=3)),
        ("*=html@2", Fault("*", "html", after=2)),
        ("tickets=429x2,retry_after=1", Fault("tickets", "status", status=429, times=2, retry_after="1")),
        ("deals=redirect,location=/a=b", Fault("deals", "redirect", location="/a=b")),
        ("deals=drip,pause=0.5", Fault("deals", "drip", pause=0.5)),
    ],
)
def test_a_fault_can_be_written_as_text(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_reads_back_from_how_it_is_shown(kind: str) -> None:
    fault = Fault("deals", kind, times=2, after=1)
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("tickets", "fault: "),
        ("tickets=", "fault: "),
        ("ticket=503", "resource: .*'ticket'"),
        ("tickets=slow", "kind: .*'slow'"),
        ("tickets=999", "status: 999"),
        ("tickets=503x0", "times: 0"),
        ("tickets=503xtwo", "times: 'two'"),
        ("tickets=503@", "after: ''"),
        ("tickets=503,colour=red", "colour: "),
        ("tickets=drip,pause=slow", "pause: 'slow'"),
        ("tickets=drip,pause=nan", "pause: nan"),
        ("tickets=503,retry_after=1\r\nX: y", "retry_after: "),
    ],
)
def test_a_fault_that_cannot_be_names_its_wrong_part(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}"):
        Fault.parse(text)


# Changes


def test_a_new_record_goes_to_the_end(sandbox: Sandbox) -> None:
    new = sandbox.crm.create("companies")
    assert list(sandbox.crm.records("companies"))[-1] == new
    assert sandbox.crm.count("companies") == 13
    MODELS["companies"].model_validate(new)


def test_a_record_of_ones_own_gets_an_id(sandbox: Sandbox) -> None:
    new = sandbox.crm.create("deals", {"name": "Mine"})
    assert new["name"] == "Mine" and isinstance(new["id"], int)
    assert new["id"] not in ids(list(sandbox.crm.records("deals"))[:-1])


def test_an_update_changes_those_fields_and_no_others(sandbox: Sandbox) -> None:
    before = list(sandbox.crm.records("deals"))
    sandbox.crm.update("deals", before[4]["id"], name="New name")
    after = list(sandbox.crm.records("deals"))
    assert after[4] == {**before[4], "name": "New name"}
    assert after[:4] + after[5:] == before[:4] + before[5:]


def test_an_update_can_change_the_id(sandbox: Sandbox) -> None:
    sandbox.crm.update("deals", 5, id=77)
    sandbox.crm.update("deals", 77, name="Found")
    with pytest.raises(UnknownRecord):
        sandbox.crm.update("deals", 5, name="Lost")


def test_a_deleted_record_is_gone_and_cannot_be_deleted_twice(sandbox: Sandbox) -> None:
    sandbox.crm.delete("deals", "981")
    assert 981 not in ids(list(sandbox.crm.records("deals")))
    with pytest.raises(UnknownRecord, match="981"):
        sandbox.crm.delete("deals", 981)


@pytest.mark.parametrize("defect", [{"name": "no id"}, {"id": None}, {"id": 5}, {"id": {"a": 1}}, "not a record", None])
def test_any_defect_can_be_planted(sandbox: Sandbox, defect: Any) -> None:
    sandbox.crm.replace("tickets", 4, defect)
    assert ask(sandbox, "/v1/tickets").data[4] == defect


def test_a_place_counts_in_the_listing_as_it_stands(sandbox: Sandbox) -> None:
    sandbox.crm.delete("tickets", 5)
    sandbox.crm.replace("tickets", 2, {"id": 1})
    sandbox.crm.replace("tickets", -1, {"id": 2})
    assert [(i, r["id"]) for i, r in enumerate(sandbox.crm.records("tickets")) if r["id"] in (1, 2)] == [
        (2, 1),
        (10, 2),
    ]
    with pytest.raises(UnknownRecord, match="no place 11"):
        sandbox.crm.replace("tickets", 11, {})


def test_what_was_handed_out_does_not_change_the_crm(sandbox: Sandbox) -> None:
    own: dict[str, Any] = {"id": 1, "tags": ["a"]}
    new = sandbox.crm.create("deals", own)
    own["tags"].append("spoilt")
    new["tags"].append("spoilt")
    assert list(sandbox.crm.records("deals"))[-1]["tags"] == ["a"]


def test_a_listing_begun_before_a_change_is_not_touched_by_it(sandbox: Sandbox) -> None:
    listing = sandbox.crm.records("deals")
    sandbox.crm.delete("deals", 5)
    sandbox.crm.update("deals", 981, name="Changed")
    found = list(listing)
    assert len(found) == 12 and "Changed" not in [record.get("name") for record in found]


def test_many_threads_can_create_at_once(sandbox: Sandbox) -> None:
    threads = [
        threading.Thread(target=lambda: [sandbox.crm.create("notes", {"a": 1}) for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids(list(sandbox.crm.records("notes"))))) == 412


def test_a_cursor_that_was_never_given_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(BadCursor):
        sandbox.crm.page("deals", "abc", 5)


# Control over HTTP


def test_a_record_can_be_created_over_http_without_login(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "/sandbox/deals", "POST", body={"name": "From outside"}, headers={"Authorization": ""})
    assert answer.status == 201
    assert list(sandbox.crm.records("deals"))[-1] == answer.json
    assert answer.json["name"] == "From outside"


def test_a_made_up_record_is_created_over_http_by_an_empty_body(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "/sandbox/contacts", "POST")
    assert answer.status == 201
    assert ask(sandbox, "/v1/contacts").data[-1] == answer.json


def test_a_record_can_be_changed_over_http(sandbox: Sandbox) -> None:
    assert ask(sandbox, "/sandbox/deals/5", "PATCH", body={"name": "Renamed"}).status == 200
    assert "Renamed" in [deal.get("name") for deal in ask(sandbox, "/v1/deals").data]


def test_a_record_can_be_deleted_over_http(sandbox: Sandbox) -> None:
    assert ask(sandbox, "/sandbox/deals/5", "DELETE").json == {"deleted": "5"}
    assert sandbox.crm.count("deals") == 11


def test_a_fault_can_be_switched_on_and_off_over_http(sandbox: Sandbox) -> None:
    on = ask(sandbox, "/sandbox/faults", "POST", body={"resource": "deals", "kind": "status", "status": 502})
    struck = ask(sandbox, "/v1/deals").status
    off = ask(sandbox, "/sandbox/faults", "DELETE")
    assert (on.status, on.json, struck) == (201, {"faults": ["deals=502"]}, 502)
    assert (off.json, ask(sandbox, "/v1/deals").status) == ({"faults": []}, 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/sandbox/deals", "{", 400, "body"),
        ("POST", "/sandbox/deals", "[1]", 400, "body"),
        ("PATCH", "/sandbox/deals/5", "", 400, "body"),
        ("PATCH", "/sandbox/deals/6", "{}", 404, "id"),
        ("DELETE", "/sandbox/deals/x%2Fy", None, 404, "id"),
        ("POST", "/sandbox/people", "{}", 404, "resource"),
        ("PUT", "/sandbox/deals/5", "{}", 501, None),
        ("DELETE", "/sandbox/deals", None, 405, None),
        ("PATCH", "/sandbox/faults", "{}", 405, None),
        ("POST", "/v1/deals", "{}", 404, None),
        ("POST", "/sandbox/faults", '{"kind": "html"}', 400, "resource"),
        ("POST", "/sandbox/faults", '{"resource": "deals"}', 400, "kind"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "slow"}', 400, "kind"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "html", "times": "2"}', 400, "times"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "html", "after": -1}', 400, "after"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "html", "release": 1}', 400, "release"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "redirect", "location": null}', 400, "location"),
        ("POST", "/sandbox/faults", '{"resource": "deals", "kind": "drip", "pause": "slow"}', 400, "pause"),
    ],
)
def test_bad_input_is_answered_with_the_field_that_is_wrong(
    sandbox: Sandbox, method: str, path: str, body: str | None, status: int, field: str | None
) -> None:
    answer = ask(sandbox, path, method, body=body)
    assert (answer.status, answer.json.get("field")) == (status, field)
    assert answer.json["error"].startswith(f"{field}: " if field else "")


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}])
@pytest.mark.parametrize(("method", "path"), [("POST", "deals"), ("DELETE", "deals/5"), ("POST", "faults")])
def test_a_web_page_cannot_drive_the_sandbox(sandbox: Sandbox, method: str, path: str, headers: dict[str, str]) -> None:
    answer = ask(sandbox, f"/sandbox/{path}", method, body={"resource": "deals", "kind": "html"}, headers=headers)
    assert answer.status == 403
    assert sandbox.crm.count("deals") == 12
    assert ask(sandbox, "/v1/deals").status == 200


def test_its_own_page_may_drive_the_sandbox(sandbox: Sandbox) -> None:
    assert ask(sandbox, "/sandbox/deals", "POST", headers={"Origin": sandbox.base_url}).status == 201


def test_a_refused_request_leaves_its_connection_usable(sandbox: Sandbox) -> None:
    connection = connect(sandbox.base_url)
    connection.request("POST", "/sandbox/deals", '{"a": 1}', {"Origin": "https://evil.example"})
    refused = Answer(connection.getresponse()).status
    connection.request("GET", "/v1/deals", headers=login())
    assert (refused, Answer(connection.getresponse()).status) == (403, 200)
    connection.close()


def test_a_body_that_is_too_large_is_refused_unread(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "/sandbox/deals", "POST", headers={"Content-Length": str(1 << 40)})
    assert answer.status == 413


# The page at /


def test_the_page_tells_what_this_is_without_login(sandbox: Sandbox) -> None:
    sandbox.crm.create("contacts")
    sandbox.fault("tickets=503x2")
    answer = ask(sandbox, "/", headers={"Authorization": ""})
    page = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert all(part in page for part in ("contacts", ">13<", EMAIL, API_KEY, "tickets=503x2", sandbox.base_url))


def test_the_page_refers_to_nothing_outside(sandbox: Sandbox) -> None:
    page = ask(sandbox, "/").body.decode().replace(sandbox.base_url, "")
    assert "http://" not in page and "https://" not in page and "src=" not in page


def test_a_program_gets_the_page_as_json(sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503x2")
    answer = ask(sandbox, "/", headers={"Accept": "application/json"})
    assert answer.json == {
        "sandbox": "crm_assets",
        "base_url": sandbox.base_url,
        "records": SMALL,
        "login": {"email": EMAIL, "api_key": API_KEY},
        "faults": ["tickets=503x2"],
    }


def test_the_page_does_not_tell_a_login_of_ones_own() -> None:
    with Sandbox(SMALL, email="me@own.example", api_key="own-key") as sandbox:
        told = ask(sandbox, "/").body + ask(sandbox, "/", headers={"Accept": "application/json"}).body
    assert b"own-key" not in told and b"me@own.example" not in told


def test_every_answer_says_which_server_it_is(sandbox: Sandbox) -> None:
    answers = [ask(sandbox, path) for path in ("/", "/v1/deals", "/nowhere")]
    assert {answer.headers["Server"] for answer in answers} == {"crm-assets-sandbox"}


def test_the_head_of_the_page_can_be_asked_for_alone(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "/", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


# Life


def test_stopping_leaves_no_thread_and_no_open_connection_behind() -> None:
    before = threading.active_count()
    with Sandbox(SMALL) as sandbox:
        connections = [connect(sandbox.base_url) for _ in range(5)]
        for connection in connections:
            connection.request("GET", "/v1/deals", headers=login())
            connection.getresponse().read()
        assert threading.active_count() > before
    assert threading.active_count() == before
    for connection in connections:
        assert connection.sock.recv(1) == b""
        connection.close()


def test_a_stopped_sandbox_refuses_connections() -> None:
    with Sandbox(SMALL) as sandbox:
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(sandbox, "/")


def test_a_port_that_is_taken_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match=f"port {sandbox.port} on 127.0.0.1"), Sandbox(port=sandbox.port):
        pass


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"counts": {"people": 1}}, "unknown resource 'people'"),
        ({"counts": {"deals": -1}}, "count of deals: -1"),
        ({"port": 70_000}, "port: 70000"),
        ({"latency": -1}, "latency: -1"),
    ],
)
def test_an_argument_that_cannot_be_is_named(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Sandbox(**options)


def test_stopping_does_not_wait_for_the_latency() -> None:
    begun = monotonic()
    with Sandbox(SMALL, latency=600) as sandbox:
        connection = connect(sandbox.base_url)
        connection.request("GET", "/v1/deals", headers=login())
    connection.close()
    assert monotonic() - begun < 5


def test_the_server_imports_neither_dlt_nor_dagster() -> None:
    code = (
        "import sys, crm_assets.sandbox.__main__, crm_assets.sandbox.process; "
        "print({'dlt', 'dagster', 'pyarrow', 'requests'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_child_process_serves_what_it_is_told_to() -> None:
    with sandbox_process(counts={"deals": 3}, faults=["tickets=503"], seed=9, email="a@b.example", api_key="k") as url:
        deals = ask(url, "/v1/deals", headers=login("a@b.example", "k")).data
        assert deals == list(Sandbox({"deals": 3}, seed=9).crm.records("deals"))[:2] + deals[2:]
        assert ask(url, "/v1/tickets", headers=login("a@b.example", "k")).status == 503


def test_a_child_process_ends_with_its_block() -> None:
    with sandbox_process() as url:
        connection = connect(url)
        connection.connect()
    assert connection.sock.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        ask(url, "/")


def test_a_child_process_that_does_not_start_says_why(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFailed, match=f"port {sandbox.port} on"), sandbox_process(port=sandbox.port):
        pass


def test_a_child_process_dies_with_its_parent_even_if_that_is_killed() -> None:
    code = (
        "from crm_assets.sandbox.process import sandbox_process\n"
        "with sandbox_process() as url:\n"
        "    print(url, flush=True)\n"
        "    input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        connection = connect(said_by(parent))
        connection.connect()
        parent.kill()
    assert connection.sock.recv(1) == b""
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "crm_assets.sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        line = said_by(child)
        os.kill(child.pid, number)
        said, errors = child.communicate(timeout=10)
    assert line.startswith("sandbox CRM at http://127.0.0.1:")
    assert (child.returncode, said, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("--fault=tickets=slow", "kind: unknown kind 'slow'"),
        ("--count=people=1", "unknown resource 'people'"),
        ("--count=deals=many", "'deals=many' is not RESOURCE=N"),
        ("--port=70000", "port: 70000"),
    ],
)
def test_a_wrong_option_is_explained_in_one_line(option: str, wrong: str) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "crm_assets.sandbox", option], capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    assert wrong in child.stderr and child.stderr.count("\n") == 1
