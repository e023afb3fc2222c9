"""The API `agilecrm` of the sandbox: its lists, what hangs on other records, its filter, its habits, its faults."""

import http.client
import json
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator
from itertools import chain
from time import monotonic
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from crm_assets.sandbox.draft import NOW
from crm_assets.sandbox.fault_kinds import KINDS
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import LISTINGS
from crm_assets.sandbox.server import API_KEY, EMAIL, Sandbox
from crm_assets_tests.conftest import environment
from crm_assets_tests.programs import free_port

FORM = "application/x-www-form-urlencoded"
LOGIN = {"Authorization": f"Basic {b64encode(f'{EMAIL}:{API_KEY}'.encode()).decode()}"}
COMPANIES = "/dev/api/contacts/companies/list"
FILTER = "/dev/api/filters/filter/dynamic-filter"
DEALS = "/dev/api/opportunity?page_size=3"
LISTS = {
    "contacts": ("/dev/api/contacts", None),
    "companies": (COMPANIES, {"global_sort_key": "-created_time"}),
    "deals": ("/dev/api/opportunity", None),
    "campaigns": ("/dev/api/workflows", None),
    "milestone": ("/dev/api/milestone/pipelines", None),
    "ticket_filters": ("/dev/api/tickets/filters", None),
}
PAGED = ["contacts", "companies", "deals", "campaigns"]
COUNTS = {**dict.fromkeys(LISTINGS, 12), "notes": 60, "documents": 40, "tasks": 40, "tickets": 40, "events": 40}
DAY = 86_400_000
Record = dict[str, Any]


class Answer:
    """One answer, read to its end; `records` is the array, or what else came as JSON."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        is_json = self.status == 200 and response.headers.get_content_type() == "application/json"
        self.records: Any = json.loads(self.body) if is_json else None


def ask(where: Sandbox | str, path: str, form: dict[str, Any] | None = None, **headers: str) -> Answer:
    """Ask for `path`; with a `form` as POST."""
    base_url = where if isinstance(where, str) else where.base_url
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    body = None if form is None else urlencode(form)
    usual = LOGIN | {"Accept": "application/json"} | ({} if form is None else {"Content-Type": FORM})
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if form is None else "POST", path, body, usual | named)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def page(sandbox: Sandbox, resource: str, **params: Any) -> Answer:
    """Ask for a list of `LISTS`."""
    path, form = LISTS[resource]
    return ask(sandbox, f"{path}?{urlencode(params)}") if form is None else ask(sandbox, path, {**form, **params})


def everything(sandbox: Sandbox, path: str, form: dict[str, Any] | None = None, size: int = 5) -> list[Record]:
    """Follow the cursors of a list to its end."""
    found: list[Record] = []
    params: dict[str, Any] = {"page_size": size}
    while True:
        join = "&" if "?" in path else "?"
        answer = ask(sandbox, f"{path}{join}{urlencode(params)}") if form is None else ask(sandbox, path, form | params)
        found += answer.records or []
        cursor = found[-1].get("cursor") if answer.records else None
        if not cursor:
            return found
        params["cursor"] = cursor


def changed(sandbox: Sandbox, rules: list[Any], or_rules: list[Any], kind: str = "PERSON", **form: str) -> list[int]:
    """Return the identifiers that the dynamic filter finds."""
    wanted = {"rules": rules, "or_rules": or_rules, "contact_type": kind}
    sort = {"global_sort_key": "-created_time", "filterJson": json.dumps(wanted)} | form
    return ids(everything(sandbox, FILTER, sort))


def after(field: str, moment: int) -> Record:
    return {"LHS": field, "CONDITION": "AFTER", "RHS": moment}


def ids(records: Iterable[Any]) -> list[int]:
    return [int(record["id"]) for record in records]


def plain(records: Iterable[Any]) -> list[Record]:
    """Return records without what belongs to their list."""
    return [{name: value for name, value in one.items() if name not in ("cursor", "count")} for one in records]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(COUNTS) as running:
        yield running


# Lists


@pytest.mark.parametrize("resource", PAGED)
def test_the_cursors_lead_to_every_record_once(sandbox: Sandbox, resource: str) -> None:
    path, form = LISTS[resource]
    found = everything(sandbox, path, form)
    assert sorted(ids(found)) == sorted(ids(sandbox.crm.records(resource)))
    assert {one["id"]: one for one in plain(found)} == {one["id"]: one for one in plain(sandbox.crm.records(resource))}


@pytest.mark.parametrize("resource", PAGED)
def test_the_cursor_stands_on_the_last_record_of_a_page_that_another_follows(sandbox: Sandbox, resource: str) -> None:
    first = page(sandbox, resource, page_size=11).records
    assert [bool(record.get("cursor")) for record in first] == [False] * 10 + [True]
    assert not any(record.get("cursor") for record in page(sandbox, resource, page_size=12).records)


@pytest.mark.parametrize("resource", ["milestone", "ticket_filters"])
def test_a_list_without_pages_has_every_record(sandbox: Sandbox, resource: str) -> None:
    assert plain(page(sandbox, resource, page_size=2).records) == list(sandbox.crm.records(resource))


def test_a_page_has_a_hundred_records_unless_the_request_says_otherwise() -> None:
    with Sandbox({"contacts": 101}) as sandbox:
        assert len(page(sandbox, "contacts").records) == 100


@pytest.mark.parametrize("resource", LISTS)
def test_an_empty_list_is_204_without_a_body(resource: str) -> None:
    with Sandbox(dict.fromkeys(LISTINGS, 0)) as sandbox:
        answer = page(sandbox, resource)
        assert (answer.status, answer.body, answer.headers["Content-Type"]) == (204, b"", None)


def test_a_list_carries_empty_cursors_or_empty_counts_or_its_number_of_records(sandbox: Sandbox) -> None:
    assert {record["cursor"] for record in page(sandbox, "contacts").records} == {""}
    assert {record["count"] for record in page(sandbox, "deals").records} == {""}
    assert [record.get("count") for record in page(sandbox, "campaigns", page_size=3).records] == [12, None, None]


def test_the_count_of_v1_does_not_show(sandbox: Sandbox) -> None:
    [with_count] = [note["id"] for note in sandbox.crm.records("notes") if "count" in note]
    [parent] = sandbox.relations.parents("notes")[int(with_count)]["contacts"][:1]
    listed = ask(sandbox, f"/dev/api/contacts/{parent}/notes").records
    assert all("count" not in record for record in listed)


def test_one_campaign_on_a_page_is_a_bare_object(sandbox: Sandbox) -> None:
    assert page(sandbox, "campaigns", page_size=1).records["cursor"]
    assert isinstance(page(sandbox, "campaigns", page_size=2).records, list)


def test_companies_come_newest_first_if_asked_to_and_otherwise_in_no_order_that_lasts(sandbox: Sandbox) -> None:
    records = list(sandbox.crm.records("companies"))
    newest = sorted(records, key=lambda record: -int(record["created_time"]) if _is_number(record) else 0)
    found = ids(everything(sandbox, COMPANIES, {"global_sort_key": "-created_time"}))
    numbers = [int(record["id"]) for record in newest if _is_number(record)]
    assert [one for one in found if one in numbers] == numbers
    assert len(set(ids(everything(sandbox, COMPANIES, {})))) < len(records)


def _is_number(record: Record) -> bool:
    return str(record["created_time"]).isdigit()


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5", ""])
def test_a_page_size_that_is_no_number_from_1_is_refused(sandbox: Sandbox, size: str) -> None:
    assert page(sandbox, "contacts", page_size=size).status == 400


def test_a_wrong_cursor_answers_500_or_ends_the_connection(sandbox: Sandbox) -> None:
    seen: set[object] = set()
    for number in range(20):
        try:
            answer = page(sandbox, "contacts", cursor=f"wrong{number}")
            seen.add((answer.status, answer.headers.get_content_type()))
        except http.client.RemoteDisconnected:
            seen.add("ended")
    assert seen == {(500, "text/html"), "ended"}


def test_a_cursor_of_another_list_is_wrong(sandbox: Sandbox) -> None:
    by_status = "/dev/api/tasks/based?criteria=STATUS&page_size=3&type="
    of_deals, of_tasks = (ask(sandbox, path).records[-1]["cursor"] for path in (DEALS, f"{by_status}COMPLETED"))
    for path, cursor in ((f"{by_status}COMPLETED", of_deals), (f"{by_status}IN_PROGRESS", of_tasks)):
        assert status_of(sandbox, f"{path}&cursor={cursor}") != 200
    assert status_of(sandbox, f"{by_status}COMPLETED&cursor={of_tasks}") == 200


def status_of(sandbox: Sandbox, path: str) -> int | None:
    """Return the status of an answer, None if there is none."""
    try:
        return ask(sandbox, path).status
    except http.client.RemoteDisconnected:
        return None


def test_a_change_shows_on_a_page_that_was_read_before(sandbox: Sandbox) -> None:
    page(sandbox, "deals")
    sandbox.crm.update("deals", 5, name="Renamed")
    assert "Renamed" in [record["name"] for record in page(sandbox, "deals").records]


def test_a_cursor_stays_right_while_records_come_and_go(sandbox: Sandbox) -> None:
    before = ids(sandbox.crm.records("contacts"))
    cursor = page(sandbox, "contacts", page_size=5).records[-1]["cursor"]
    for gone in (before[0], before[5]):
        sandbox.crm.delete("contacts", gone)
    new = sandbox.crm.create("contacts")
    assert ids(page(sandbox, "contacts", cursor=cursor).records) == [*before[6:], int(new["id"])]


# Formats and errors


def test_who_does_not_ask_for_json_gets_xml(sandbox: Sandbox) -> None:
    answer = page(sandbox, "contacts")
    assert answer.headers.get_content_type() == "application/json"
    answer = ask(sandbox, "/dev/api/contacts", Accept="*/*")
    assert (answer.headers["Content-Type"], answer.body[:5]) == ("application/xml", b"<?xml")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/dev/api/contacts", {"Authorization": "Basic !!"}, 401),
        ("/dev/api/contacts?page_size=x", {}, 400),
        ("/dev/api/people", {}, 404),
        (COMPANIES, {}, 405),
    ],
)
def test_an_error_is_an_html_page(sandbox: Sandbox, path: str, headers: dict[str, str], status: int) -> None:
    answer = ask(sandbox, path, None, **headers)
    assert (answer.status, answer.headers.get_content_type()) == (status, "text/html")


def test_a_body_that_is_no_form_is_refused(sandbox: Sandbox) -> None:
    assert ask(sandbox, COMPANIES, {}, Content_Type="application/json").status == 415


# Notes, documents, tickets


def test_notes_and_documents_are_found_below_the_records_that_they_name(sandbox: Sandbox) -> None:
    contact, deal = ids(sandbox.crm.records("contacts"))[3], ids(sandbox.crm.records("deals"))[4]
    note = sandbox.crm.create("notes", {"contact_ids": [str(contact)], "deal_ids": [deal]})
    document = sandbox.crm.create("documents", {"contact_ids": [contact], "deal_ids": [str(deal)]})
    assert note["id"] in ids(ask(sandbox, f"/dev/api/contacts/{contact}/notes").records)
    assert note["id"] in ids(ask(sandbox, f"/dev/api/opportunity/{deal}/notes").records)
    assert document["id"] in ids(ask(sandbox, f"/dev/api/documents/contact/{contact}/docs").records)
    parents = sandbox.relations.parents
    assert parents("notes")[note["id"]] == {"contacts": [contact], "deals": [deal]}
    assert parents("documents")[document["id"]] == {"contacts": [contact]}


def test_a_note_of_a_deal_only_is_found_below_no_contact(sandbox: Sandbox) -> None:
    deal = ids(sandbox.crm.records("deals"))[4]
    note = sandbox.crm.create("notes", {"contact_ids": [], "deal_ids": [deal]})
    assert sandbox.relations.parents("notes")[note["id"]] == {"deals": [deal]}


@pytest.mark.parametrize("said", [{"contact_ids": None}, {"contact_ids": []}, {}])
def test_a_note_that_names_nobody_is_found_below_one_contact_for_ever(sandbox: Sandbox, said: Record) -> None:
    note = sandbox.crm.create("notes", said)["id"]
    [contact] = sandbox.relations.parents("notes")[note]["contacts"]
    sandbox.crm.create("contacts")
    sandbox.crm.delete("contacts", next(one for one in ids(sandbox.crm.records("contacts")) if one != contact))
    sandbox.crm.update("notes", note, subject="Changed")
    assert note in ids(ask(sandbox, f"/dev/api/contacts/{contact}/notes").records)
    sandbox.crm.delete("contacts", contact)
    assert note not in sandbox.relations.parents("notes")


@pytest.mark.parametrize("path", ["contacts/{}/notes", "opportunity/{}/notes", "documents/contact/{}/docs"])
def test_an_unknown_or_deleted_parent_answers_204(sandbox: Sandbox, path: str) -> None:
    resource = "deals" if path.startswith("opportunity") else "contacts"
    gone = 981
    sandbox.crm.delete(resource, gone)
    for parent in (gone, 1, "x"):
        assert ask(sandbox, f"/dev/api/{path.format(parent)}").status == 204


def test_what_the_children_of_all_parents_are_is_what_is_reachable(sandbox: Sandbox) -> None:
    contacts, deals = ids(sandbox.crm.records("contacts")), ids(sandbox.crm.records("deals"))
    sandbox.crm.delete("contacts", contacts.pop(4))
    paths = [f"contacts/{one}/notes" for one in contacts] + [f"opportunity/{one}/notes" for one in deals]
    found = [record for path in paths for record in ask(sandbox, f"/dev/api/{path}").records or []]
    assert {one["id"]: one for one in plain(found)} == {one["id"]: one for one in plain(sandbox.reachable("notes"))}
    parents = sandbox.relations.parents("notes")
    assert len(found) == sum(len(some) for by_resource in parents.values() for some in by_resource.values())
    assert len(list(sandbox.reachable("notes"))) == len(parents) < 60
    assert any(len(some) > 1 for by_resource in parents.values() for some in by_resource.values())


def test_a_new_relation_shows_at_once_and_an_old_one_ends(sandbox: Sandbox) -> None:
    note, parents = next(iter(sandbox.relations.parents("notes").items()))
    before = parents["contacts"][0]
    after_it = next(one for one in ids(sandbox.crm.records("contacts")) if one not in parents["contacts"])
    sandbox.crm.update("notes", note, contact_ids=[str(after_it)], deal_ids=[])
    assert note in ids(ask(sandbox, f"/dev/api/contacts/{after_it}/notes").records)
    assert note not in ids(ask(sandbox, f"/dev/api/contacts/{before}/notes").records or [])


def test_a_deleted_note_is_found_below_nobody(sandbox: Sandbox) -> None:
    note, parents = next(iter(sandbox.relations.parents("notes").items()))
    sandbox.crm.delete("notes", note)
    assert note not in ids(ask(sandbox, f"/dev/api/contacts/{parents['contacts'][0]}/notes").records or [])
    assert note not in sandbox.relations.parents("notes")


def test_the_first_ticket_filter_lists_all_tickets_and_each_of_the_others_some(sandbox: Sandbox) -> None:
    first, *others = ids(sandbox.crm.records("ticket_filters"))
    path = "/dev/api/tickets/filter?page_size=1000&filter_id="
    assert plain(ask(sandbox, f"{path}{first}").records) == plain(sandbox.crm.records("tickets"))
    some = [ids(ask(sandbox, f"{path}{one}").records or []) for one in others]
    by_ticket = {ticket: [] for ticket in ids(sandbox.crm.records("tickets"))}  # type: dict[int, list[int]]
    for ticket_filter, tickets in zip(others, some, strict=True):
        for ticket in tickets:
            by_ticket[ticket].append(ticket_filter)
    assert {len(filters) for filters in by_ticket.values()} == {0, 1, 2}
    parents = sandbox.relations.parents("tickets")
    assert {one: {first, *filters} for one, filters in by_ticket.items()} == {
        one: set(found["ticket_filters"]) for one, found in parents.items()
    }


def test_tickets_need_a_filter(sandbox: Sandbox) -> None:
    assert ask(sandbox, "/dev/api/tickets/filter").status == 400
    assert ask(sandbox, "/dev/api/tickets/filter?filter_id=1").status == 204


def test_tickets_come_with_cursors_and_the_latest_first(sandbox: Sandbox) -> None:
    first = ids(sandbox.crm.records("ticket_filters"))[0]
    sandbox.crm.update("tickets", 981, last_updated_time=NOW * 1000)
    path = f"/dev/api/tickets/filter?filter_id={first}&global_sort_key=-last_updated_time"
    found = ids(everything(sandbox, path, size=7))
    assert found[0] == 981 and sorted(found) == sorted(ids(sandbox.crm.records("tickets")))
    times = {int(one["id"]): one.get("last_updated_time") for one in sandbox.crm.records("tickets")}
    numbers = [int(times[one]) for one in found if str(times[one]).isdigit()]
    assert numbers == sorted(numbers, reverse=True)


def test_every_other_ticket_filter_has_no_cursors_and_does_not_say_that_more_follows() -> None:
    with Sandbox(COUNTS | {"ticket_filters": 2}) as sandbox:
        second = ids(sandbox.crm.records("ticket_filters"))[1]
        path = f"/dev/api/tickets/filter?filter_id={second}"
        few, all_of_them = ask(sandbox, f"{path}&page_size=5").records, ask(sandbox, f"{path}&page_size=500").records
        assert few == all_of_them[:5] and len(all_of_them) > 5
        assert not any(record.get("cursor") for record in few)


# Tasks and events


def test_the_list_of_tasks_has_only_those_that_are_not_completed(sandbox: Sandbox) -> None:
    found = ask(sandbox, "/dev/api/tasks?page_size=1").records
    pending = [task for task in sandbox.crm.records("tasks") if task["status"] != "COMPLETED"]
    assert plain(found) == pending and 1 < len(pending) < 40


def test_tasks_of_every_state_can_be_had_in_pages(sandbox: Sandbox) -> None:
    path = "/dev/api/tasks/based?criteria=STATUS&type="
    by_status = {one: everything(sandbox, path + one) for one in ("YET_TO_START", "IN_PROGRESS", "COMPLETED")}
    for status, tasks in by_status.items():
        assert {task["status"] for task in tasks} == {status}
    assert sorted(ids(chain.from_iterable(by_status.values()))) == sorted(ids(sandbox.crm.records("tasks")))


@pytest.mark.parametrize("query", ["", "?criteria=STATUS", "?criteria=DUE&type=COMPLETED", "?criteria=STATUS&type=x"])
def test_tasks_by_something_else_than_their_state_are_refused(sandbox: Sandbox, query: str) -> None:
    assert ask(sandbox, f"/dev/api/tasks/based{query}").status == 400


@pytest.mark.parametrize("query", ["", "?start=1", "?end=1", "?start=x&end=1"])
def test_events_need_a_window(sandbox: Sandbox, query: str) -> None:
    assert ask(sandbox, f"/dev/api/events{query}").status == 400


def test_an_event_is_in_every_window_that_it_overlaps(sandbox: Sandbox) -> None:
    event = sandbox.crm.create("events", {"start": 1_000, "end": "2000"})["id"]
    windows = {(0, 999): False, (0, 1_000): True, (1_200, 1_300): True, (2_000, 9_000): True, (2_001, 9_000): False}
    for (start, end), is_in in windows.items():
        found = ask(sandbox, f"/dev/api/events?start={start}&end={end}").records or []
        assert (event in ids(found)) is is_in, (start, end)


def test_an_event_without_a_usable_start_is_in_no_window(sandbox: Sandbox) -> None:
    lost = [sandbox.crm.create("events", {"start": start, "end": 5_000})["id"] for start in (None, 0, "", "soon")]
    found = ids(ask(sandbox, "/dev/api/events?start=-9000000000&end=9000000000").records)
    assert sorted(found) == sorted(ids(sandbox.reachable("events")))
    assert not set(lost) & set(found)


# The dynamic filter


@pytest.mark.parametrize(
    ("kind", "resource"), [("PERSON", "contacts"), ("COMPANY", "companies"), ("OPPORTUNITY", "deals")]
)
def test_the_filter_finds_what_was_updated_since(sandbox: Sandbox, kind: str, resource: str) -> None:
    one, other = ids(sandbox.crm.records(resource))[:2]
    sandbox.crm.update(resource, one, updated_time=NOW + 86_400)
    sandbox.crm.update(resource, other, updated_time=str(NOW + 86_400))
    rule = after("updated_time", (NOW + 3_600) * 1000)
    assert sorted(changed(sandbox, [rule], [], kind)) == sorted([one, other])
    assert sandbox.requests[resource] == len(sandbox.log)


@pytest.mark.parametrize("never", [0, None, "", "0"])
def test_a_record_that_was_never_updated_is_found_by_its_creation_only(sandbox: Sandbox, never: Any) -> None:
    contact = sandbox.crm.create("contacts", {"created_time": NOW, "updated_time": never})["id"]
    day_before = (NOW - 86_400) * 1000
    assert contact not in changed(sandbox, [], [after("updated_time", day_before)])
    assert contact not in changed(sandbox, [], [after("updated_time", 0)])
    assert contact in changed(sandbox, [], [after("updated_time", day_before), after("created_time", day_before)])


def test_rules_must_all_hold_and_of_or_rules_any(sandbox: Sandbox) -> None:
    for contact in ids(sandbox.crm.records("contacts")):
        sandbox.crm.delete("contacts", contact)
    times = {1: (NOW, NOW), 2: (1, NOW), 3: (NOW, 0), 4: (1, 2)}
    for number, (created, updated) in times.items():
        sandbox.crm.create("contacts", {"id": number, "created_time": created, "updated_time": updated})
    since = NOW * 1000 - DAY
    new, touched, always = after("created_time", since), after("updated_time", since), after("created_time", 0)
    assert sorted(changed(sandbox, [], [])) == [1, 2, 3, 4]
    assert sorted(changed(sandbox, [new, touched], [])) == [1]
    assert sorted(changed(sandbox, [], [new, touched])) == [1, 2, 3]
    assert sorted(changed(sandbox, [new], [touched, always])) == sorted(changed(sandbox, [new], []))
    assert sorted(changed(sandbox, [touched], [new])) == [1]


def test_after_means_from_the_next_midnight_on(sandbox: Sandbox) -> None:
    midnight = NOW - NOW % 86_400
    sandbox.crm.create("contacts", {"id": 1, "created_time": midnight - 1})
    sandbox.crm.create("contacts", {"id": 2, "created_time": midnight})
    for moment, found in ((midnight - 3_600, {2}), (midnight - 86_400, {1, 2}), (midnight, {2}), (midnight + 1, set())):
        assert {1, 2} & set(changed(sandbox, [after("created_time", moment * 1000)], [])) == found, moment


def test_the_filter_comes_newest_first_in_pages(sandbox: Sandbox) -> None:
    newest = sandbox.crm.create("contacts", {"created_time": NOW + 5})["id"]
    found = changed(sandbox, [after("created_time", 0)], [])
    assert found[0] == newest and sorted(found) == sorted(ids(sandbox.crm.records("contacts")))
    assert len(sandbox.log) == 3


def test_the_filter_cannot_sort_by_the_time_of_the_update(sandbox: Sandbox) -> None:
    wanted = json.dumps({"rules": [], "or_rules": [], "contact_type": "PERSON"})
    assert ask(sandbox, FILTER, {"filterJson": wanted, "global_sort_key": "-updated_time"}).status == 500


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "{",
        "[]",
        '{"rules": []}',
        '{"contact_type": "LEAD"}',
        '{"contact_type": "PERSON", "rules": {}}',
        '{"contact_type": "PERSON", "rules": [{"LHS": "name", "CONDITION": "AFTER", "RHS": 1}]}',
        '{"contact_type": "PERSON", "rules": [{"LHS": "updated_time", "CONDITION": "BEFORE", "RHS": 1}]}',
        '{"contact_type": "PERSON", "or_rules": [{"LHS": "updated_time", "CONDITION": "AFTER", "RHS": "x"}]}',
        '{"contact_type": "PERSON", "or_rules": [{"LHS": "updated_time", "CONDITION": "AFTER"}]}',
    ],
)
def test_a_filter_that_cannot_be_is_refused(sandbox: Sandbox, wanted: str) -> None:
    assert ask(sandbox, FILTER, {"filterJson": wanted}).status == 400


# Faults


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("reset", "hang")])
def test_each_fault_looks_as_it_is_described(sandbox: Sandbox, kind: str) -> None:
    whole = page(sandbox, "deals", page_size=5)
    sandbox.fault(Fault("deals", kind, pause=0.0001))
    if kind == "cut_off":
        with pytest.raises(http.client.IncompleteRead) as cut:
            page(sandbox, "deals", page_size=5)
        assert cut.value.partial == whole.body[: len(whole.body) // 2]
        return
    if kind == "half_json":
        with pytest.raises(json.JSONDecodeError):
            page(sandbox, "deals", page_size=5)
        return
    answer = page(sandbox, "deals", page_size=5)
    match kind:
        case "status" | "html":
            assert (answer.status, answer.headers.get_content_type()) == (503 if kind == "status" else 200, "text/html")
        case "error_envelope":
            assert (answer.status, answer.records) == (200, {"error": "Something went wrong."})
        case "null_data":
            assert (answer.status, answer.body) == (200, b"null")
        case "redirect":
            assert (answer.status, answer.headers["Location"]) == (302, "/")
        case "drip":
            assert answer.body == whole.body
        case "repeat_cursor":
            again = page(sandbox, "deals", page_size=5, cursor=answer.records[-1]["cursor"]).records
            assert ids(again) == ids(whole.records)
        case "extra_cursor":
            last = page(sandbox, "deals", page_size=12).records[-1]["cursor"]
            assert page(sandbox, "deals", cursor=last).status == 204


def test_a_list_without_pages_can_carry_a_cursor_that_says_it_was_cut(sandbox: Sandbox) -> None:
    sandbox.fault("milestone=extra_cursor")
    assert page(sandbox, "milestone").records[-1]["cursor"]


@pytest.mark.parametrize("kind", ["half_json", "null_data"])
def test_a_fault_spoils_an_empty_list_too(kind: str) -> None:
    with Sandbox({"deals": 0}) as sandbox:
        sandbox.fault(Fault("deals", kind))
        if kind == "null_data":
            assert page(sandbox, "deals").body == b"null"
        else:
            with pytest.raises(json.JSONDecodeError):
                page(sandbox, "deals")


def test_a_fault_of_one_parent_leaves_the_others_alone(sandbox: Sandbox) -> None:
    one, other, *_ = ids(sandbox.crm.records("contacts"))
    first, second, *_ = ids(sandbox.crm.records("ticket_filters"))
    sandbox.fault(Fault("notes", "status", status=500, parent=str(one)))
    sandbox.fault(f"tickets/{second}=502")
    notes = [ask(sandbox, f"/dev/api/contacts/{parent}/notes").status for parent in (one, other, one)]
    assert notes[0] == notes[2] == 500 and notes[1] in (200, 204)
    tickets = [ask(sandbox, f"/dev/api/tickets/filter?filter_id={parent}").status for parent in (first, second)]
    assert tickets == [200, 502]


def test_a_fault_of_one_parent_can_be_set_over_http(sandbox: Sandbox) -> None:
    fault = {"resource": "notes", "kind": "status", "status": 500, "parent": "5"}
    connection = http.client.HTTPConnection(urlsplit(sandbox.base_url).netloc, timeout=10)
    connection.request("POST", "/sandbox/faults", json.dumps(fault))
    assert json.loads(connection.getresponse().read()) == {"faults": ["notes/5=500"]}
    connection.close()
    assert ask(sandbox, "/dev/api/contacts/5/notes").status == 500
    assert ask(sandbox, "/v1/notes").status == 200


@pytest.mark.parametrize("what", ["a page of 5001", "a fault that holds it"])
def test_a_request_that_takes_too_long_is_cut_off_without_an_answer(what: str) -> None:
    with Sandbox(COUNTS, cut=0.2) as sandbox:
        if what == "a fault that holds it":
            sandbox.fault("contacts=hang")
        begun = monotonic()
        with pytest.raises(http.client.RemoteDisconnected):
            page(sandbox, "contacts", page_size=5001 if what == "a page of 5001" else 5)
        assert monotonic() - begun > 0.15
        assert page(sandbox, "deals", page_size=5000).status == 200


def test_v1_is_not_cut_off() -> None:
    with Sandbox(COUNTS, cut=0.05) as sandbox, socket.create_connection(("127.0.0.1", sandbox.port)) as connection:
        sandbox.fault("deals=hang")
        connection.sendall(f"GET /v1/deals HTTP/1.1\r\nAuthorization: {LOGIN['Authorization']}\r\n\r\n".encode())
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


# Both APIs


def test_both_apis_show_the_same_records_and_changes(sandbox: Sandbox) -> None:
    sandbox.crm.update("deals", 5, name="Renamed")
    v1 = ask(sandbox, "/v1/deals").records["data"]
    assert plain(page(sandbox, "deals").records) == plain(v1)
    assert "Renamed" in [record["name"] for record in v1]


def test_requests_are_counted_and_logged_under_the_resource_that_they_are_for(sandbox: Sandbox) -> None:
    begun = monotonic()
    page(sandbox, "companies", page_size=3)
    ask(sandbox, "/dev/api/contacts/5/notes")
    ask(sandbox, "/v1/deals?limit=3")
    ask(sandbox, "/dev/api/nothing")
    assert sandbox.requests == {"companies": 1, "notes": 1, "deals": 1}
    assert [(seen.path, seen.query) for seen in sandbox.log] == [
        (COMPANIES, {"page_size": "3", "global_sort_key": "-created_time"}),
        ("/dev/api/contacts/5/notes", {}),
        ("/v1/deals", {"limit": "3"}),
    ]
    times = [begun, *(seen.arrived for seen in sandbox.log), monotonic()]
    assert times == sorted(times)


@pytest.mark.parametrize(("api", "v1", "agilecrm"), [("v1", 200, 404), ("agilecrm", 404, 200), (None, 200, 200)])
def test_one_api_can_be_served_alone(api: Any, v1: int, agilecrm: int) -> None:
    with Sandbox({"deals": 3}, api=api) as sandbox:
        assert ask(sandbox, "/v1/deals").status == v1
        assert page(sandbox, "deals").status == agilecrm
        home = ask(sandbox, "/").body.decode()
        assert (("/v1/deals" in home), ("/dev/api/opportunity" in home)) == (v1 == 200, agilecrm == 200)


def test_an_api_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"^api: unknown API 'v2'; known: v1, agilecrm$"):
        Sandbox(api="v2")  # type: ignore[arg-type]


def test_the_command_serves_one_api_alone() -> None:
    port = free_port()
    code = f"from crm_assets.cli.main import app; app(['sandbox', '--api', 'agilecrm', '--port', '{port}'])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout
        base_url = process.stdout.readline().strip().removeprefix("sandbox CRM at ")
        try:
            assert (ask(base_url, "/dev/api/opportunity").status, ask(base_url, "/v1/deals").status) == (200, 404)
        finally:
            process.terminate()
