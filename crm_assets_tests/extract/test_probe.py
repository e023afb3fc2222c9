"""What a probe says of an API's habits, told from what the sandbox answers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console

from crm_assets.cli.terminal import print_probes
from crm_assets.extract.connect import connect
from crm_assets.extract.observations import Observation
from crm_assets.extract.probe import Probe, probe_resources
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, V1, an_account

FILTER = "/dev/api/filters/filter/dynamic-filter"


@pytest.fixture
def crm() -> Iterator[Sandbox]:
    """A small CRM with two contacts more than a page has."""
    counts = SMALL | {"contacts": 102, "events": 0, "milestone": 0, "campaigns": 1}
    with Sandbox(counts, email=EMAIL, api_key=API_KEY) as running:
        yield running


def probed(
    crm: Sandbox, *names: str, api: Any = "agilecrm", page_size: int | None = None, observe: bool = True
) -> list[Probe]:
    """Return what the resources `names`, all for none, answer."""
    account = an_account(api=api, base_url=crm.base_url, page_size=page_size)
    with connect(account, email=EMAIL, api_key=API_KEY) as connection:
        return list(probe_resources(account.select(names), connection, account.api, observe=observe))


def observed(crm: Sandbox, *names: str, **options: Any) -> list[str]:
    """Return what is observed of the resources `names`."""
    return [str(one) for probe in probed(crm, *names, **options) for one in probe.observations]


def id_of(crm: Sandbox, resource: str, place: int = 0) -> str:
    """Return the id of a record."""
    return str([*crm.crm.records(resource)][place]["id"])


def asked_of_filter(crm: Sandbox) -> list[dict[str, Any]]:
    """Return what the filter that says what is new was asked for."""
    return [orjson.loads(seen.query["filterJson"]) for seen in crm.log if seen.path == FILTER]


def test_a_cursor_is_told_from_none_and_from_a_full_page_without_one(crm: Sandbox) -> None:
    assert observed(crm, "contacts")[0].startswith("100 records, another page follows, ")
    assert observed(crm, "contacts", page_size=102)[0].startswith("102 records, a full page without a cursor, ")
    assert observed(crm, "contacts", page_size=103)[0].startswith("102 records, no cursor, ")
    assert observed(crm, "contacts", api="v1") == ["100 records, another page follows"]
    assert observed(crm, "deals", api="v1", page_size=121) == ["120 records, no cursor"]


def test_the_cursor_of_an_api_is_in_the_field_that_its_configuration_names(crm: Sandbox) -> None:
    named = {"type": "cursor", "limit": 100, "cursor_param": "cursor", "stop_condition": "not last_record.get('next')"}
    resources = [{"name": "contacts", "endpoint": {"path": "/v1/contacts", "paginator": named}}]
    assert observed(crm, api={**V1, "resources": resources}) == ["100 records, a full page without a cursor"]


def test_a_full_page_that_is_asked_for_again_is_observed_as_it_first_came(crm: Sandbox) -> None:
    crm.crm.delete("ticket_filters", id_of(crm, "ticket_filters"))  # every second of them has no cursors
    assert observed(crm, "tickets", page_size=1) == ["1 record, a full page without a cursor, no number in count"]


def test_fields_that_are_removed_are_told_with_their_places_and_the_number_of_all(crm: Sandbox) -> None:
    contacts, companies, deals = (observed(crm, name, page_size=10)[0] for name in ("contacts", "companies", "deals"))
    assert contacts.endswith(", no number in count, cursor on every record")
    assert companies.endswith(", count says 30, cursor on the last record, count on the first record")
    assert deals.endswith(", no number in count, cursor on the last record, count on every record")


def test_a_removed_field_that_only_some_records_have_is_counted(crm: Sandbox) -> None:
    for place in (2, 3, 5):
        crm.crm.update("notes", id_of(crm, "notes", place), page=7)
    config = {**V1, "resource_defaults": {**V1["resource_defaults"], "remove_fields": ["page", "pages"]}}
    assert observed(crm, "notes", api=config) == ["20 records, page on 3 of 20 records"]


def test_no_body_an_empty_list_and_an_object_are_told_apart(crm: Sandbox) -> None:
    assert observed(crm, "events") == ["HTTP 204 without a body: no records"]
    assert observed(crm, "events", api="v1") == ["an empty list"]
    assert observed(crm, "campaigns")[0].startswith("an object in the place of a list: 1 record, no cursor, ")


def test_an_error_that_the_configuration_allows_is_told(crm: Sandbox) -> None:
    crm.fault("deals=404")
    endpoint = {"path": "/v1/deals", "response_actions": [{"status_code": 404, "action": "ignore"}]}
    allowing = {**V1, "resources": [{"name": "deals", "endpoint": endpoint}]}
    [deals] = probed(crm, api=allowing)
    assert [str(one) for one in deals.observations] == ["HTTP 404, which response_actions allow"]


def test_the_content_type_is_kept_but_of_nothing(crm: Sandbox) -> None:
    events, filters = probed(crm, "events", "ticket_filters")
    assert [one.observations[0].content_type for one in (events, filters)] == [None, "application/json"]


def test_each_of_several_requests_says_what_it_brought(crm: Sandbox) -> None:
    everything, *by_status = observed(crm, "tasks")
    assert everything.startswith("GET /dev/api/tasks: ")
    path = "GET /dev/api/tasks/based?criteria=STATUS&type="
    assert [one.partition(": ")[0] for one in by_status] == [
        f"{path}{status}" for status in ("YET_TO_START", "IN_PROGRESS", "COMPLETED")
    ]
    brought = [int(one.partition(": ")[2].split()[0]) for one in (everything, *by_status)]
    assert sum(brought[1:]) == SMALL["tasks"]
    assert brought[0] == brought[1] + brought[2]


def test_a_request_without_a_parent_is_not_sent_and_that_is_told(crm: Sandbox) -> None:
    for record in [*crm.crm.records("deals")]:
        crm.crm.delete("deals", record["id"])
    *_, of_deals = observed(crm, "notes")
    assert of_deals == (
        "GET /dev/api/opportunity/{resources.deals.id}/notes: nothing was requested, for lack of a record of deals"
    )


def test_what_answered_before_a_request_that_failed_is_observed_too(crm: Sandbox) -> None:
    crm.fault("tasks=500@2")
    [tasks] = probed(crm, "tasks")
    assert tasks.error
    assert [one.request for one in tasks.observations] == [
        "GET /dev/api/tasks",
        "GET /dev/api/tasks/based?criteria=STATUS&type=YET_TO_START",
    ]


def test_what_is_new_is_asked_for_a_day_of_each_endpoint_that_says_it(crm: Sandbox) -> None:
    crm.crm.update("companies", id_of(crm, "companies"), created_time=1, updated_time=datetime.now(UTC).timestamp())
    assert observed(crm, "companies")[-1] == "what is new: 1 record, no cursor, 0 records"
    asked = asked_of_filter(crm)
    assert [one["rules"][0]["LHS"] for one in asked] == ["updated_time", "created_time"]
    a_day_ago = datetime.now(UTC) - timedelta(days=1)
    starts = [datetime.fromtimestamp(one["rules"][0]["RHS"] / 1000, UTC) for one in asked]
    assert all(abs(start - a_day_ago) < timedelta(minutes=1) for start in starts)


@pytest.mark.parametrize(
    ("fault", "why"),
    [("404", "HTTP 404,"), ("500", "HTTP 500,"), ("html", "HTTP 200 with a response of type text/html")],
)
def test_endpoints_that_do_not_say_what_is_new_are_an_observation_and_no_error(
    crm: Sandbox, fault: str, why: str
) -> None:
    crm.fault(f"deals={fault}@1")
    [deals] = probed(crm, "deals")
    assert deals.error is None
    said = str(deals.observations[-1])
    assert said.startswith(f"what is new: {why}")
    assert said.endswith(", so each run lists everything")


@pytest.mark.parametrize(
    ("fault", "why"),
    [("deals=429@1", "HTTP 429"), ("deals=reset@1", "no connection")],
)
def test_a_fault_that_no_run_takes_for_a_refusal_is_told_as_it_is(crm: Sandbox, fault: str, why: str) -> None:
    crm.fault(fault)
    [deals] = probed(crm, "deals")
    assert deals.error is None
    said = str(deals.observations[-1])
    assert said.startswith(f"what is new: {why}")
    assert "everything" not in said


def test_nothing_more_is_asked_of_a_resource_that_failed(crm: Sandbox) -> None:
    crm.fault("deals=500")
    [deals] = probed(crm, "deals")
    assert deals.error
    assert not deals.observations
    assert not asked_of_filter(crm)


def test_who_does_not_observe_sends_first_pages_only(crm: Sandbox) -> None:
    quiet = probed(crm, "contacts", "companies", "deals", "notes", observe=False)
    assert not any(probe.observations for probe in quiet)
    assert [seen.path.rpartition("/")[2] for seen in crm.log] == ["contacts", "list", "opportunity", "notes", "notes"]


def test_observing_changes_nothing_of_the_page(crm: Sandbox) -> None:
    observing, quiet = (probed(crm, observe=observe) for observe in (True, False))
    assert [one.fingerprint() for one in observing] == [one.fingerprint() for one in quiet]


def printed(probes: list[Probe]) -> str:
    """Return what a terminal of 80 columns shows."""
    terminal = Console(file=StringIO(), width=80, force_terminal=True, no_color=True, highlight=False)
    print_probes(terminal, probes)
    assert isinstance(terminal.file, StringIO)
    return terminal.file.getvalue()


def test_a_terminal_shows_everything_in_80_columns(crm: Sandbox) -> None:
    text = printed(probed(crm))
    assert all(len(line) <= 80 for line in text.splitlines() if "\x1b" not in line)
    words = " ".join(text.split())
    assert "companies 30 records, no cursor, count says 30, count on the first record" in words
    assert "companies what is new: 0 records, 0 records" in words
    assert "tasks GET /dev/api/tasks/based?criteria=STATUS&type=COMPLETED: " in words
    assert text.splitlines()[-1] == "Content type of all: application/json"


def test_content_types_that_differ_are_shown_with_the_resources_that_have_them() -> None:
    kinds = {"deals": "text/plain", "notes": "application/json", "tasks": "text/plain", "events": None}
    probes = [Probe(name, 0.01, [], None, (Observation("", ("1 record",), kind),)) for name, kind in kinds.items()]
    assert printed(probes).splitlines()[-2:] == [
        "Content type of deals, tasks: text/plain",
        "Content type of notes: application/json",
    ]
