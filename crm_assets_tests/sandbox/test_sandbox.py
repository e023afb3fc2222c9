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
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from crm_assets.models.columns import columns_of
from crm_assets.sandbox.crm import UnknownRecord
from crm_assets.sandbox.draft import NOW
from crm_assets.sandbox.fault_kinds import KINDS
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import ABSENT, DEFAULT_COUNTS, LISTINGS, MODELS
from crm_assets.sandbox.process import SandboxFailed, sandbox_process
from crm_assets.sandbox.records import World
from crm_assets.sandbox.server import API_KEY, EMAIL, Sandbox

SMALL = dict.fromkeys(LISTINGS, 12)
PAGED = [name for name, listing in LISTINGS.items() if listing.cursor_param]
Records = dict[str, list[dict[str, Any]]]


def login(email: str = EMAIL, key: str = API_KEY, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {b64encode(f'{email}:{key}'.encode()).decode()}"}


class Answer:
    """One answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.json: Any = json.loads(self.body) if self.body[:1] == b"{" and self.body[-1:] == b"}" else None
        self.data: Any = self.json.get("data") if self.json else None


def ask(where: Sandbox | str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    base_url = where if isinstance(where, str) else where.base_url
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    try:
        connection.request(method, path, text, login() | headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def ids(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["id"]) for record in records]


@pytest.fixture(scope="module")
def records() -> Records:
    """Every record of the default sandbox, as sent."""
    crm = Sandbox().crm
    return {resource: list(crm.records(resource)) for resource in LISTINGS}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SMALL) as running:
        yield running


# Records


@pytest.mark.parametrize("resource", MODELS)
def test_every_declared_field_is_filled_by_its_type(records: Records, resource: str) -> None:
    models = [MODELS[resource].model_validate(record) for record in records[resource]]
    assert len(models) == DEFAULT_COUNTS[resource]
    for column in columns_of(MODELS[resource]):
        values = [value for model in models if (value := getattr(model, column.field)) is not None]
        assert values, column.field
        assert all(isinstance(value, dict | list) == (column.data_type.name == "json") for value in values)


@pytest.mark.parametrize("resource", MODELS)
def test_a_time_is_in_the_models_unit_after_the_creation_and_not_in_the_future(records: Records, resource: str) -> None:
    texts: list[str] = []
    has_times = False
    for column in columns_of(MODELS[resource]):
        if column.data_type.name == "timestamp" and column.field not in ("due", "close_date", "start", "end"):
            unit = 1000 if column.data_type.unit == "ms" else 1
            times = [record[column.field] for record in records[resource] if column.field in record]
            numbers = [time for time in times if isinstance(time, int) and time]
            assert numbers
            has_times = True
            assert all(1_420_070_400 * unit <= time < (NOW + 1) * unit for time in numbers), column.field
            texts += [time for time in times if isinstance(time, str) and "T" in time]
    assert texts or not has_times or DEFAULT_COUNTS[resource] < 100
    for record in map(MODELS[resource].model_validate, records[resource]):
        created, updated = getattr(record, "created_time", None), getattr(record, "updated_time", None)
        assert not created or not updated or created <= updated


REFERENCES = [
    ("contacts", "contact_company_id", "companies"),
    ("deals", "contact_ids", "contacts"),
    ("deals", "contacts", "contacts"),
    ("deals", "note_ids", "notes"),
    ("deals", "pipeline_id", "milestone"),
    ("notes", "deal_ids", "deals"),
    ("tasks", "deal_ids", "deals"),
    ("tasks", "deals", "deals"),
    ("events", "contacts", "contacts"),
    ("documents", "relatedContacts", "contacts"),
    ("tickets", "contactID", "contacts"),
]


@pytest.mark.parametrize(("resource", "field", "target"), REFERENCES)
def test_every_reference_leads_to_a_record(records: Records, resource: str, field: str, target: str) -> None:
    found = [record[field] for record in records[resource] if record.get(field)]
    flat = [one for value in found for one in (value if isinstance(value, list) else [value])]
    meant = {int(one["id"] if isinstance(one, dict) else one) for one in flat}
    assert meant
    assert meant <= set(ids(records[target]))


def test_the_fields_of_a_record_agree(records: Records) -> None:
    names = {int(contact["id"]): contact["properties"][:2] for contact in records["contacts"]}
    milestones = {int(one["id"]): one["milestones"].split(",") for one in records["milestone"]}
    for deal in records["deals"]:
        mentions = deal.get("contacts") or []
        assert not mentions or not deal.get("contact_ids") or ids(mentions) == [int(one) for one in deal["contact_ids"]]
        for mentioned in mentions:
            known = [part["value"] for part in names[int(mentioned["id"])]]
            assert [part["value"] for part in mentioned["properties"][:2]] == known
        if deal.get("pipeline_id"):
            assert deal["milestone"] in milestones[int(deal["pipeline_id"])]
        if deal.get("probability") not in (None, ""):
            assert 0 <= int(deal["probability"]) <= 100
    assert all("@" in ticket["requester_email"] for ticket in records["tickets"] if ticket.get("requester_email"))


def test_the_records_have_the_crms_habits(records: Records) -> None:
    contacts, deals, tickets = records["contacts"], records["deals"], records["tickets"]
    parts = [part for contact in contacts for part in contact["properties"]]
    assert {type(contact["id"]) for contact in contacts} == {int, str}
    assert {type(deal["expected_value"]) for deal in deals if deal.get("expected_value")} == {float, str}
    assert {5, 981} < set(ids(deals)) and max(ids(deals)) < 2**53 and len(set(ids(deals))) == len(deals)
    assert any(contact.get("updated_time") == 0 for contact in contacts)
    assert {-19_800, 11_545_245_654} < {task.get("due") for task in records["tasks"]}
    assert any(deal.get("total_deal_value") == "" for deal in deals)
    assert {str, bool} < {type(task.get("is_complete")) for task in records["tasks"]}
    assert any(None in contact.values() for contact in contacts) and any("tags" not in contact for contact in contacts)
    assert any("type" not in part for part in parts) and any(isinstance(part["value"], int) for part in parts)
    assert any(isinstance(part["value"], str) and part["value"][:1] == "{" for part in parts)
    text = json.dumps(contacts, ensure_ascii=False)
    assert all(name in text for name in ("François", "Νικολάου", "王", "अनिका"))
    extras = [("contacts", "x_newsletter"), ("contacts", "customScore"), ("deals", "forecastCategory")]
    for resource, field in [*extras, ("tickets", "satisfaction")]:
        assert 0 < sum(field in record for record in records[resource]) < len(records[resource])
    assert [record.get("count") for record in records["notes"][:3]] == [DEFAULT_COUNTS["notes"], None, None]
    plain = World(1, DEFAULT_COUNTS, undeclared=False)
    assert all(set(plain.record("tickets", one)) <= set(MODELS["tickets"].model_fields) for one in range(len(tickets)))


def test_the_seed_alone_determines_the_records() -> None:
    def world(seed: int) -> list[Any]:
        return [World(seed, SMALL).record(resource, 3) for resource in LISTINGS]

    assert world(5) == world(5)
    assert all(one != other for one, other in zip(world(5), world(6), strict=True))


# Listings


@pytest.mark.parametrize("resource", PAGED)
def test_the_cursors_lead_to_every_record_once(sandbox: Sandbox, resource: str) -> None:
    first = ask(sandbox, f"/v1/{resource}?limit=6").data
    last = ask(sandbox, f"/v1/{resource}?limit=6&cursor={quote(first[-1].pop('cursor'))}").data
    assert last[-1].pop("cursor", ABSENT) == LISTINGS[resource].at_end
    assert first + last == list(sandbox.crm.records(resource))
    assert len(first) == len(last) == 6


def test_a_page_has_a_hundred_records_but_a_single_page_has_all() -> None:
    with Sandbox({"contacts": 101, "tickets": 101, "notes": 0}) as sandbox:
        assert [len(ask(sandbox, f"/v1/{name}").data) for name in ("contacts", "tickets", "notes")] == [100, 101, 0]


@pytest.mark.parametrize(("query", "status"), [("cursor=x", 500), ("cursor=MTI6MTIz", 500), ("limit=0", 400)])
def test_a_wrong_cursor_or_limit_is_refused(sandbox: Sandbox, query: str, status: int) -> None:
    assert ask(sandbox, f"/v1/contacts?{query}").status == status


def test_a_cursor_stays_right_while_records_come_and_go(sandbox: Sandbox) -> None:
    before = list(sandbox.crm.records("contacts"))
    cursor = ask(sandbox, "/v1/contacts?limit=5").data[-1]["cursor"]
    for gone in (before[0], before[3], before[5]):
        sandbox.crm.delete("contacts", gone["id"])
    new = sandbox.crm.create("contacts")
    assert ids(ask(sandbox, f"/v1/contacts?cursor={quote(cursor)}").data) == [*ids(before[6:]), *ids([new])]


def test_requests_are_counted_and_logged(sandbox: Sandbox) -> None:
    ask(sandbox, "/v1/deals?limit=3", **{"User-Agent": "tester/1"})
    seen = sandbox.log[-1]
    assert (seen.resource, seen.query, seen.user_agent) == ("deals", {"limit": "3"}, "tester/1")
    assert sandbox.requests == {"deals": 1}


@pytest.mark.parametrize("headers", [{"Authorization": "Basic !!"}, login(key="wrong"), login(scheme="Bearer")])
def test_a_wrong_login_answers_401(sandbox: Sandbox, headers: dict[str, str]) -> None:
    assert ask(sandbox, "/v1/deals", **headers).status == 401


def test_a_login_beyond_ascii_is_understood() -> None:
    with Sandbox(SMALL, email="健太@例え.example", api_key="鍵:鍵") as sandbox:
        assert ask(sandbox, "/v1/deals", **login("健太@例え.example", "鍵:鍵")).status == 200
        assert ask(sandbox, "/v1/deals", **login("??@??.example", "?:?")).status == 401


# Faults


ANSWERED = {
    "status": (503, b"<!doctype html>"),
    "error_envelope": (200, b'{"error":"Something went wrong."}'),
    "html": (200, b"<!doctype html>"),
    "null_data": (200, b'{"data":null}'),
    "redirect": (302, b""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_looks_as_it_is_described(sandbox: Sandbox, kind: str) -> None:
    whole = ask(sandbox, "/v1/deals?limit=5").body
    fault = sandbox.fault(Fault("deals", kind, retry_after="7", pause=0.0001))
    if kind == "reset":
        with pytest.raises(ConnectionResetError) as reset:
            ask(sandbox, "/v1/deals")
        assert reset.type is ConnectionResetError  # not RemoteDisconnected, which an orderly end gives
        return
    if kind == "cut_off":
        with pytest.raises(http.client.IncompleteRead) as cut:
            ask(sandbox, "/v1/deals?limit=5")
        assert cut.value.partial == whole[: len(whole) // 2]
        return
    if kind == "hang":
        with socket.create_connection(("127.0.0.1", sandbox.port)) as connection:
            head = f"GET /v1/deals HTTP/1.1\r\nAuthorization: {login()['Authorization']}\r\n\r\n"
            connection.sendall(head.encode())
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            fault.release.set()
            connection.settimeout(10)
            assert connection.recv(12) == b"HTTP/1.1 200"
        return
    answer = ask(sandbox, "/v1/deals?limit=5")
    if kind in ANSWERED:
        status, start = ANSWERED[kind]
        assert answer.status == status and answer.body.startswith(start)
        assert (answer.headers["Retry-After"], answer.headers["Location"]) == (
            "7" if kind == "status" else None,
            "/" if kind == "redirect" else None,
        )
    elif kind == "half_json":
        assert answer.body == whole[: len(whole) // 2]
    elif kind == "drip":
        assert answer.body == whole
    else:
        again = ask(sandbox, f"/v1/deals?cursor={quote(answer.data[-1]['cursor'])}&limit=7").data
        first = list(sandbox.crm.records("deals"))[0 if kind == "repeat_cursor" else 5]
        assert again[0]["id"] == first["id"] and again[-1]["cursor"]


@pytest.mark.parametrize(
    ("faults", "statuses"),
    [
        (["deals=503x2@1"], [200, 503, 503, 200]),
        (["deals=503"], [503, 503, 503, 503]),
        (["*=503x1"], [503, 200, 200, 200]),
        (["tickets=503"], [200, 200, 200, 200]),
        (["deals=503x1", "deals=429x1@1"], [503, 200, 429, 200]),
    ],
)
def test_a_fault_occurs_when_and_as_often_as_told(sandbox: Sandbox, faults: list[str], statuses: list[int]) -> None:
    for fault in faults:
        sandbox.fault(fault)
    assert [ask(sandbox, "/v1/deals").status for _ in range(4)] == statuses
    sandbox.clear_faults()
    assert ask(sandbox, "/v1/deals").status == ask(sandbox, "/v1/tickets").status == 200


@pytest.mark.parametrize(
    ("text", "wrong"), [("deals", "fault"), ("deal=503", "resource"), ("deals=slow", "kind"), ("deals=503x0", "times")]
)
def test_a_fault_that_cannot_be_names_its_wrong_part(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}: "):
        Fault.parse(text)


# Changes


def test_records_can_be_created_changed_deleted_and_replaced(sandbox: Sandbox) -> None:
    crm = sandbox.crm
    before = ask(sandbox, "/v1/deals").data[:-1]
    crm.update("deals", 5, name="New name")
    assert ask(sandbox, "/v1/deals").data[2]["name"] == "New name"
    crm.delete("deals", "981")
    new = crm.create("deals", {"name": "Mine"})
    crm.replace("deals", 0, "not a record")
    after = ["not a record", before[1], {**before[2], "name": "New name"}, *before[3:7], *before[8:]]
    assert ask(sandbox, "/v1/deals").data[:10] == after == list(crm.records("deals"))[:10]
    assert crm.count("deals") == 12 and new["id"] not in ids(before)
    with pytest.raises(UnknownRecord):
        crm.delete("deals", 981)


def test_records_and_faults_can_be_changed_over_http_without_login(sandbox: Sandbox) -> None:
    created = ask(sandbox, "/sandbox/deals", "POST", {"name": "Mine"}, Authorization="", Origin=sandbox.base_url)
    assert (created.status, list(sandbox.crm.records("deals"))[-1]) == (201, created.json)
    assert ask(sandbox, "/sandbox/deals/5", "PATCH", {"name": "Renamed"}).json["name"] == "Renamed"
    assert ask(sandbox, "/sandbox/deals/981", "DELETE").status == 200 and sandbox.crm.count("deals") == 12
    on = ask(sandbox, "/sandbox/faults", "POST", {"resource": "deals", "kind": "status", "status": 502})
    assert (on.json, ask(sandbox, "/v1/deals").status) == ({"faults": ["deals=502"]}, 502)
    page = ask(sandbox, "/", Authorization="").body.decode()
    assert all(part in page for part in (">12<", EMAIL, API_KEY, "deals=502", sandbox.base_url))
    assert ask(sandbox, "/sandbox/faults", "DELETE").json == {"faults": []}
    assert ask(sandbox, "/v1/deals").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("PATCH", "deals/5", "[1]", 400, "body"),
        ("DELETE", "deals/x", None, 404, "id"),
        ("POST", "people", "{}", 404, "resource"),
        ("POST", "faults", '{"kind": "html"}', 400, "resource"),
        ("POST", "faults", '{"resource": "deals", "kind": "html", "times": "2"}', 400, "times"),
        ("POST", "faults", '{"resource": "deals", "kind": "html", "release": 1}', 400, "release"),
    ],
)
def test_a_bad_control_request_names_the_wrong_field(
    sandbox: Sandbox, method: str, path: str, body: str | None, status: int, field: str
) -> None:
    answer = ask(sandbox, f"/sandbox/{path}", method, body)
    assert (answer.status, answer.json["field"]) == (status, field)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}])
@pytest.mark.parametrize(("method", "path"), [("POST", "deals"), ("DELETE", "deals/5"), ("POST", "faults")])
def test_a_web_page_cannot_control_the_sandbox(
    sandbox: Sandbox, method: str, path: str, headers: dict[str, str]
) -> None:
    fault = {"resource": "deals", "kind": "html"}
    assert ask(sandbox, f"/sandbox/{path}", method, fault, **headers).status == 403
    assert ids(ask(sandbox, "/v1/deals").data) == ids(list(Sandbox(SMALL).crm.records("deals")))


# Life


def test_stopping_ends_every_thread_also_one_whose_request_hangs() -> None:
    before = threading.active_count()
    with Sandbox(SMALL) as sandbox:
        sandbox.fault("deals=hang")
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port)
        connection.request("GET", "/v1/deals", headers=login())
        while not sandbox.requests:
            pass
    assert threading.active_count() == before
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()


def test_a_child_process_serves_what_it_is_told_to_and_ends_with_its_block() -> None:
    with sandbox_process(counts={"deals": 3}, faults=["tickets=503"], seed=9, email="a@b.example", api_key="k") as url:
        deals = ask(url, "/v1/deals", **login("a@b.example", "k")).data
        assert ids(deals) == ids(list(Sandbox({"deals": 3}, seed=9).crm.records("deals")))
        assert ask(url, "/v1/tickets", **login("a@b.example", "k")).status == 503
    with pytest.raises(ConnectionRefusedError):
        ask(url, "/")


def test_a_child_process_ends_with_its_parent_even_if_that_is_killed() -> None:
    code = (
        "from crm_assets.sandbox.process import sandbox_process\n"
        "with sandbox_process() as url:\n    print(url, flush=True)\n    input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout
        connection = http.client.HTTPConnection(urlsplit(parent.stdout.readline().strip()).netloc, timeout=10)
        connection.request("GET", "/")
        connection.getresponse().read()
        parent.kill()
    assert connection.sock.recv(1) == b""
    connection.close()


def test_what_cannot_be_is_named_also_by_a_child_process(sandbox: Sandbox) -> None:
    wrong = f"port {sandbox.port} on 127.0.0.1"
    with pytest.raises(OSError, match=wrong), Sandbox(port=sandbox.port):
        pass
    with pytest.raises(SandboxFailed, match=wrong), sandbox_process(port=sandbox.port):
        pass
    with pytest.raises(SandboxFailed, match="'people'"), sandbox_process(counts={"people": 1}):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = "from crm_assets.sandbox.service import serve; serve(counts=['deals=3'], faults=['tickets=503'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip().removeprefix("sandbox CRM at ")
        assert (len(ask(url, "/v1/deals").data), ask(url, "/v1/tickets").status) == (3, 503)
        os.kill(process.pid, number)
        assert process.wait(timeout=10) == 0


def test_the_child_process_imports_neither_dlt_nor_dagster_nor_typer() -> None:
    code = "import sys, crm_assets.sandbox.__main__; print({'dlt', 'dagster', 'pyarrow', 'typer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
