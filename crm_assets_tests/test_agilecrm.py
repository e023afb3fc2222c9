"""The public API of Agile CRM: what is asked for, and what becomes of what several requests bring."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import dagster as dg
import orjson
import pytest

from crm_assets.apis.files import find_config
from crm_assets.extract.progress import ProgressListener, listening
from crm_assets.project import ROOT
from crm_assets.sandbox.draft import NOW
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import (
    API_KEY,
    EMAIL,
    SMALL,
    Warehouse,
    an_account,
    failure_of,
    impatient,
    run_assets,
    some,
    unlimited,
    warehouse_in,
)

AGILECRM: Any = unlimited(impatient(find_config("agilecrm", ROOT)[0]))
CONTACTS = int(os.environ.get("CAMPAIGN_CONTACTS", "300"))
"""How many contacts the incremental listing is tried with."""
LATER = NOW + 3 * 86_400
"""Epoch seconds, so long after all else that no look-back reaches back there."""
Load = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({**SMALL, "contacts": 40, "deals": 20}, email=EMAIL, api_key=API_KEY) as running:
        yield running


@pytest.fixture
def load(warehouse: Warehouse, instance: dg.DagsterInstance) -> Load:
    return loader(instance)


def loader(instance: dg.DagsterInstance) -> Load:
    """Return what loads resources and returns the metadata of each table; no check may fail with an error."""

    def load(*names: str, api: Any = AGILECRM, **sync: Any) -> dict[str, dict[str, Any]]:
        result = run_assets(instance, names, account=an_account(api=api, sync=sync))
        assert result.success, failure_of(result)
        checks = [one for one in result.get_asset_check_evaluations() if not one.passed]
        assert not [one.description for one in checks if one.severity is dg.AssetCheckSeverity.ERROR]
        found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
        return {one.asset_key.path[-1]: {name: value.value for name, value in one.metadata.items()} for one in found}

    return load


def asked(sandbox: Sandbox, begin: int = 0) -> list[str]:
    """Return the paths of the latest requests, those after the first `begin` ones."""
    latest = so_far(sandbox) - begin
    return [seen.path for seen in sandbox.log[-latest:]] if latest else []


def so_far(sandbox: Sandbox) -> int:
    return sandbox.requests.total()


def ids(sandbox: Sandbox, resource: str) -> set[int]:
    return {int(record["id"]) for record in sandbox.reachable(resource)}


def rows(warehouse: Warehouse, table: str, columns: str = "id", where: str = "true") -> list[tuple[Any, ...]]:
    return warehouse.query(f"SELECT {columns} FROM crm.{table} WHERE {where} ORDER BY id")


def lists(warehouse: Warehouse, table: str, column: str) -> dict[int, list[str]]:
    found = rows(warehouse, table, f"id, {column}", f"{column} IS NOT NULL")
    return {record_id: orjson.loads(text) for record_id, text in found}


def test_every_resource_is_listed_whole_without_what_belongs_to_its_pages(
    load: Load, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    load()
    for resource in SMALL:
        assert {row[0] for row in rows(warehouse, resource)} == ids(sandbox, resource)
        assert not {"cursor", "count"} & warehouse.columns(resource).keys()


def test_contacts_are_listed_once_for_all_that_is_asked_of_each(load: Load, sandbox: Sandbox) -> None:
    load("contacts", "notes", "documents")
    paths = Counter(asked(sandbox))
    assert paths["/dev/api/contacts"] == 1
    for contact in ids(sandbox, "contacts"):
        assert paths[f"/dev/api/contacts/{contact}/notes"] == 1
        assert paths[f"/dev/api/documents/contact/{contact}/docs"] == 1


def test_a_record_that_several_parents_list_is_one_row_that_names_them_all(
    load: Load, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    first, second, *_ = (record["id"] for record in sandbox.crm.records("contacts"))
    for resource in ("notes", "documents"):
        sandbox.crm.create(resource, {"id": 1, "contact_ids": [first, str(second)]})
    sandbox.crm.update("notes", next(iter(sandbox.crm.records("notes")))["id"], contact_ids=None)
    load("notes", "documents", "tickets")
    for resource, columns in {
        "notes": {"contact_ids": "contacts", "deal_ids": "deals"},
        "documents": {"contact_ids": "contacts"},
        "tickets": {"filter_ids": "ticket_filters"},
    }.items():
        parents = sandbox.relations.parents(resource)
        assert any(len(found) > 1 for one in parents.values() for found in one.values())
        for column, parent in columns.items():
            found = lists(warehouse, resource, column)
            assert {record: set(map(str, one[parent])) for record, one in parents.items() if one.get(parent)} == {
                record: set(values) for record, values in found.items() if values
            }


def test_an_event_that_reaches_into_two_windows_is_one_row(
    load: Load, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CRM__EVENTS_START", "2026-01-01")
    monkeypatch.setenv("SOURCES__CRM__EVENTS_SPAN_DAYS", "31")
    january, february = 1_767_225_600, 1_767_225_600 + 31 * 86_400
    for event in list(sandbox.crm.records("events")):
        sandbox.crm.delete("events", event["id"])
    sandbox.crm.create("events", {"id": 1, "start": february - 3_600, "end": february + 3_600})
    sandbox.crm.create("events", {"id": 2, "start": january - 7_200, "end": january - 3_600})
    sandbox.crm.create("events", {"id": 3, "start": 4_000_000_000, "end": 4_000_000_060})
    assert load("events")["events"]["records"] == 3
    assert rows(warehouse, "events") == [(1,), (3,)]
    windows = [(int(seen.query["start"]), int(seen.query["end"])) for seen in sandbox.log if "start" in seen.query]
    assert windows[0] == (january, february + 1)
    assert all(after[0] <= before[1] for before, after in pairwise(windows))


def test_a_filter_that_gives_a_full_page_and_no_cursor_is_asked_for_more(
    load: Load, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CRM__PAGE_SIZE", "3")
    load("tickets")
    sizes = {int(seen.query["page_size"]) for seen in sandbox.log if seen.path == "/dev/api/tickets/filter"}
    assert {3, 6} <= sizes
    assert {row[0] for row in rows(warehouse, "tickets")} == ids(sandbox, "tickets")


def test_one_contact_whose_notes_cannot_be_read_fails_the_notes_alone_and_is_named(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    contact = list(sandbox.crm.records("contacts"))[7]["id"]
    sandbox.fault(Fault("notes", "status", status=500, parent=str(contact)))
    result = run_assets(instance, ("contacts", "notes", "documents"), account=an_account(api=AGILECRM))
    assert f"notes: of contacts with id {contact}: HTTP 500" in failure_of(result)
    landed = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert landed >= {"contacts", "documents"}
    assert "notes" not in landed


def test_a_bare_campaign_is_a_list_of_one(load: Load, sandbox: Sandbox, warehouse: Warehouse) -> None:
    first, *others = sandbox.crm.records("campaigns")
    for campaign in others:
        sandbox.crm.delete("campaigns", campaign["id"])
    load("campaigns")
    assert rows(warehouse, "campaigns") == [(int(first["id"]),)]


def test_after_some_changes_only_these_are_asked_for_and_deletes_wait_for_the_whole_listing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    changed, added = 100, 20
    with Sandbox({**SMALL, "contacts": CONTACTS, "notes": 200}, email=EMAIL, api_key=API_KEY) as sandbox:
        warehouse, load = warehouse_in(tmp_path, sandbox, monkeypatch), loader(instance)
        contacts = [record["id"] for record in sandbox.crm.records("contacts")]
        sandbox.crm.update("contacts", contacts[0], updated_time=LATER)
        load("contacts", "notes", "documents")
        moment = LATER + 3_600
        for number, contact in enumerate(contacts[:changed]):
            sandbox.crm.update("contacts", contact, source=f"changed {number}", updated_time=moment + number)
        new = [
            sandbox.crm.create("contacts", {"created_time": moment + number, "updated_time": 0})["id"]
            for number in range(added)
        ]
        gone = contacts[-3:]
        for contact in gone:
            sandbox.crm.delete("contacts", contact)
        sandbox.crm.create("notes", {"id": 1, "contact_ids": [str(new[0])]})
        begin = so_far(sandbox)
        found = load("contacts", "notes", "documents")

        paths = Counter(asked(sandbox, begin))
        of_contacts = [path for path in paths if path.startswith("/dev/api/contacts/")]
        assert paths["/dev/api/contacts"] == 0
        assert paths["/dev/api/filters/filter/dynamic-filter"] < 6
        assert {path.split("/")[4] for path in of_contacts} == {str(one) for one in [*contacts[:changed], *new]}
        assert len(of_contacts) == changed + added
        assert sum(1 for path in paths if path.startswith("/dev/api/documents/")) == changed + added
        assert "did not change themselves, until the next full listing" in found["notes"]["left_out"]

        sources = {int(record["id"]): record.get("source") for record in sandbox.crm.records("contacts")}
        in_table = dict(rows(warehouse, "contacts", "id, source"))
        assert {one: in_table[one] for one in sources} == sources
        assert in_table.keys() - sources.keys() == set(gone)
        assert not rows(warehouse, "contacts", where="_missing_since IS NOT NULL")
        assert {row[0] for row in rows(warehouse, "notes")} >= ids(sandbox, "notes")

        begin = so_far(sandbox)
        assert "since" in load("contacts", "notes", "documents")["notes"]  # they come again, for a day, as they were
        assert not [path for path in asked(sandbox, begin) if path.startswith(("/dev/api/contacts/", "/dev/api/doc"))]

        assert "since" not in load("contacts", "notes", "documents", full_listing_interval=0)["notes"]
        assert {row[0] for row in rows(warehouse, "contacts", where="_missing_since IS NOT NULL")} == set(gone)
        load("contacts", deletes_confirm="none", full_listing_interval=0)
        assert {row[0] for row in rows(warehouse, "contacts", where="_deleted_at IS NOT NULL")} == set(gone)


@pytest.mark.parametrize(("status", "times"), some((404, 1), (403, 1), (500, 4)))
def test_a_filter_that_fails_leaves_the_whole_listing_also_for_the_children(
    load: Load, sandbox: Sandbox, status: int, times: int
) -> None:
    load("contacts", "notes")
    begin = so_far(sandbox)
    sandbox.fault(Fault("contacts", "status", status=status, times=times))
    said: list[str] = []
    with listening(ProgressListener(lambda _: None, said.append)):
        found = load("contacts", "notes")
    [told] = [line for line in said if "does not say what is new" in line]
    assert told.startswith("contacts: ")
    assert f"HTTP {status}" in told
    paths = Counter(asked(sandbox, begin))
    assert paths["/dev/api/contacts"] == 1
    assert sum(1 for path in paths if path.endswith("/notes") and "/contacts/" in path) == 40
    assert "since" not in found["contacts"]
    assert found["contacts"]["records"] == 40


def test_a_filter_whose_cursor_comes_twice_leaves_the_whole_listing(load: Load, sandbox: Sandbox) -> None:
    load("contacts")
    sandbox.fault(Fault("contacts", "repeat_cursor", times=2))
    sandbox.crm.update("contacts", next(iter(sandbox.crm.records("contacts")))["id"], updated_time=LATER)
    begin = so_far(sandbox)
    assert "since" not in load("contacts")["contacts"]
    assert Counter(asked(sandbox, begin))["/dev/api/contacts"] == 1


def test_a_whole_listing_in_the_place_of_what_is_new_is_resumed_without_asking_for_what_is_new(
    sandbox: Sandbox, load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CRM__PAGE_SIZE", "10")
    load("contacts")
    sandbox.fault(Fault("contacts", "status", status=404, times=1))
    sandbox.fault(Fault("contacts", "status", status=503, after=2))
    result = run_assets(instance, ["contacts"], account=an_account(api=AGILECRM))
    assert "HTTP 503" in failure_of(result)
    sandbox.clear_faults()
    begin = so_far(sandbox)
    found = load("contacts")["contacts"]
    assert set(asked(sandbox, begin)) == {"/dev/api/contacts"}
    assert found["records_resumed"] == 20
    assert found["records"] == 40


def test_what_an_incremental_listing_sees_of_a_records_parents_adds_to_what_the_table_knows(
    load: Load, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    api = deepcopy(AGILECRM)
    notes = next(row for row in api["resources"] if row["name"] == "notes")
    notes["endpoints"][0]["collect_from_parent"] = {"found_under": "id"}  # which no record says itself
    first, second, *_ = (record["id"] for record in sandbox.crm.records("contacts"))
    sandbox.crm.create("notes", {"id": 1, "contact_ids": [first, second]})
    sandbox.crm.update("contacts", first, updated_time=LATER)
    load("contacts", "notes", api=api)
    both = sorted([str(first), str(second)])
    assert lists(warehouse, "notes", "found_under")[1] == both
    sandbox.crm.update("contacts", first, updated_time=LATER + 60)
    begin = so_far(sandbox)
    load("contacts", "notes", api=api)
    assert f"/dev/api/contacts/{first}/notes" in asked(sandbox, begin)
    assert f"/dev/api/contacts/{second}/notes" not in asked(sandbox, begin)
    assert lists(warehouse, "notes", "found_under")[1] == both
