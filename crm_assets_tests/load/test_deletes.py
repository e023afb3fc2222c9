"""Records that the CRM does not list any more, and those that come back."""

from itertools import pairwise
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from crm_assets.models.record import Text
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Materialize, Warehouse, an_account, declaring, run_assets, some

pytestmark = pytest.mark.each_warehouse(thorough=True)

GONE = "SELECT id FROM crm.deals WHERE _deleted_at IS NOT NULL ORDER BY id"
MISSING = "SELECT id FROM crm.deals WHERE _missing_since IS NOT NULL ORDER BY id"


def ids(sandbox: Sandbox, resource: str) -> list[Any]:
    """Return the identifiers of the records as they stand."""
    return [record["id"] for record in sandbox.crm.records(resource)]


def row_count(result: dg.ExecuteInProcessResult) -> tuple[bool, str]:
    """Return what the check `row_count` of deals said."""
    [one] = [check for check in result.get_asset_check_evaluations() if check.check_name == "row_count"]
    return one.passed, str(one.description)


def test_a_row_whose_record_is_gone_is_flagged_once_and_cleared_when_it_comes_back(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    record = next(iter(sandbox.crm.records("deals")))
    materialize(["deals"])
    assert warehouse.query(GONE) == []
    sandbox.crm.delete("deals", record["id"])
    materialize(["deals"])
    assert warehouse.query(GONE) == []
    assert warehouse.query(MISSING) == [(int(record["id"]),)]
    materialize(["deals"])
    first = warehouse.query("SELECT id, _deleted_at FROM crm.deals WHERE _deleted_at IS NOT NULL")
    assert [row[0] for row in first] == [int(record["id"])]
    materialize(["deals"])
    assert warehouse.query("SELECT id, _deleted_at FROM crm.deals WHERE _deleted_at IS NOT NULL") == first
    sandbox.crm.create("deals", record)
    materialize(["deals"])
    assert warehouse.query(GONE) == []
    assert warehouse.query(MISSING) == []
    assert warehouse.query("SELECT count(*) FROM crm.deals") == [(SMALL["deals"],)]


def test_a_record_that_one_listing_of_several_pages_missed_is_never_flagged(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    record = list(sandbox.crm.records("deals"))[50]
    materialize(["deals"])
    for _ in range(3):
        sandbox.crm.delete("deals", record["id"])
        materialize(["deals"])
        assert warehouse.query(MISSING) == [(int(record["id"]),)]
        sandbox.crm.create("deals", record)
        materialize(["deals"])
        assert warehouse.query(MISSING) == warehouse.query(GONE) == []
    assert warehouse.query("SELECT count(*) FROM crm.deals_history") == [(SMALL["deals"],)]


@pytest.mark.parametrize(
    ("confirm", "resource", "count", "at_once"),
    some(
        ("auto", "notes", None, True),  # one page
        ("auto", "deals", None, False),
        ("auto", "campaigns", SMALL["campaigns"] - 1, True),  # as many as the CRM says
        ("auto", "campaigns", SMALL["campaigns"], False),
        ("second_listing", "notes", None, False),
        ("none", "deals", None, True),
        always=2,
    ),
)
def test_a_row_is_flagged_at_once_where_nothing_can_have_moved(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    confirm: str,
    resource: str,
    count: int | None,
    at_once: bool,
) -> None:
    monkeypatch.setenv("SYNC__DELETES_CONFIRM", confirm)
    materialize([resource])
    first, *_, last = ids(sandbox, resource)
    sandbox.crm.delete(resource, last)
    sandbox.crm.update(resource, first, count=count)
    for flagged in (at_once, True):
        materialize([resource])
        gone = warehouse.query(
            f"SELECT _deleted_at IS NOT NULL, _missing_since IS NOT NULL FROM crm.{resource} WHERE id = {last}"
        )
        assert gone == [(flagged, not at_once)]


@pytest.mark.parametrize(
    ("deletes", "rows", "flagged"), some(("remove", SMALL["deals"] - 1, 0), ("keep", SMALL["deals"], 0))
)
def test_the_setting_of_a_resource_removes_or_keeps_the_row(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    deletes: str,
    rows: int,
    flagged: int,
) -> None:
    monkeypatch.setenv("SYNC__DEALS__DELETES", deletes)
    materialize(["deals", "notes"])
    for resource in ("deals", "notes"):
        sandbox.crm.delete(resource, ids(sandbox, resource)[0])
    for _ in range(2):
        materialize(["deals", "notes"])
    assert warehouse.query("SELECT count(*), count(_deleted_at) FROM crm.deals") == [(rows, flagged)]
    assert warehouse.query("SELECT count(*), count(_deleted_at) FROM crm.notes") == [(SMALL["notes"], 1)]


def test_rows_that_were_flagged_go_when_the_setting_is_remove(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(["notes"])
    sandbox.crm.delete("notes", ids(sandbox, "notes")[0])
    materialize(["notes"])
    monkeypatch.setenv("SYNC__DELETES", "remove")
    materialize(["notes"])
    assert warehouse.query("SELECT count(*), count(_deleted_at) FROM crm.notes") == [(SMALL["notes"] - 1, 0)]


def test_a_listing_that_failed_deletes_nothing(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    materialize(["deals"])
    sandbox.crm.delete("deals", ids(sandbox, "deals")[0])
    sandbox.fault(Fault("deals", "status", after=1, retry_after="9999"))
    assert not materialize(["deals"]).success
    assert warehouse.query(GONE) == []


def test_a_record_that_was_listed_and_cannot_be_a_row_is_not_gone(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    account = declaring(an_account(), "deals", name=(Text, Field(description="Name of the deal.")))
    materialize(["deals"], account=account)
    record_id = ids(sandbox, "deals")[3]
    sandbox.crm.replace("deals", 3, {"id": str(record_id), "expected_value": 1})
    materialize(["deals"], account=account)
    materialize(["deals"], account=account)
    assert warehouse.query("SELECT record_id FROM crm.rejected_records") == [(str(record_id),)]
    sandbox.crm.replace("deals", 3, {"id": str(record_id), "expected_value": 2})
    materialize(["deals"], account=account)
    assert warehouse.query("SELECT record_id FROM crm.rejected_records") == [(str(record_id),)] * 2
    assert warehouse.query(GONE) == []


@pytest.mark.parametrize("deletes", some("remove", "flag"))
def test_while_the_id_of_a_listed_record_cannot_be_read_nothing_is_gone(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, deletes: str
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    monkeypatch.setenv("SYNC__DELETES", deletes)
    materialize(["tickets"])
    for place in range(SMALL["tickets"]):
        sandbox.crm.replace("tickets", place, {"id": f"T-{place}", "subject": "as before"})
    for _ in range(2):
        materialize(["tickets"])
    assert warehouse.query("SELECT count(*), count(_deleted_at), count(_missing_since) FROM crm.tickets") == [
        (SMALL["tickets"], 0, 0)
    ]
    assert warehouse.query("SELECT count(*), count(_dlt_valid_to) FROM crm.tickets_history") == [(SMALL["tickets"], 0)]


CUTS = {
    "an empty page": '{"data": []}',
    "a page that lost its cursor": '{"data": [{"id": 1, "type": "PERSON", "created_time": 1700000000}]}',
}


@pytest.mark.parametrize("deletes", some("remove", "flag"))
@pytest.mark.parametrize("cut", CUTS)
def test_a_listing_that_was_cut_deletes_nothing_and_ends_no_version(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    cut: str,
    deletes: str,
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    monkeypatch.setenv("SYNC__DELETES", deletes)
    materialize(["contacts"])
    sandbox.fault(Fault("contacts", "html", times=1, after=2, body=CUTS[cut]))
    for missing in (50, 0):
        materialize(["contacts"])
        gone = warehouse.query("SELECT count(_deleted_at), count(_missing_since) FROM crm.contacts WHERE id <> 1")
        assert gone == [(0, missing)]
    assert warehouse.query("SELECT count(*) FROM crm.contacts WHERE id <> 1") == [(SMALL["contacts"],)]
    ended = "SELECT count(*) FROM crm.contacts_history WHERE id <> 1 AND _dlt_valid_to IS NOT NULL"
    assert warehouse.query(ended) == [(0,)]


def test_a_table_of_which_no_record_is_listed_any_more_stays_until_a_person_allows_it(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    materialize(["tickets"])
    for record_id in ids(sandbox, "tickets"):
        sandbox.crm.delete("tickets", record_id)
    for _ in range(3):
        result = materialize(["tickets"])
        [found] = [one for one in result.get_asset_check_evaluations() if one.check_name == "row_count"]
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    flagged = "SELECT count(*), count(_deleted_at) FROM crm.tickets"
    assert warehouse.query(flagged) == [(SMALL["tickets"], 0)]
    run_assets(instance, ["tickets"], allow_deletes=True)
    assert warehouse.query(flagged) == [(SMALL["tickets"], SMALL["tickets"])]


def test_a_listing_that_lost_too_much_deletes_nothing_loads_the_rest_and_can_be_allowed_once(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    materialize(["deals"])
    all_ids = ids(sandbox, "deals")
    for record_id in all_ids[:25]:
        sandbox.crm.delete("deals", record_id)
    sandbox.crm.update("deals", all_ids[30], name="Changed all the same")
    guarded = materialize(["deals"])
    assert guarded.success
    assert row_count(guarded) == (
        False,
        "25 of 120 rows not in the last listing, more than sync.delete_guard allows: nothing was deleted. "
        "If that is right, allow it once: crm-assets sync deals --allow-deletes",
    )
    assert warehouse.query(GONE) == []
    assert warehouse.query(f"SELECT name FROM crm.deals WHERE id = {all_ids[30]}") == [("Changed all the same",)]
    allowed = run_assets(instance, ["deals"], allow_deletes=True)
    assert "has not" not in row_count(allowed)[1]
    assert [row[0] for row in warehouse.query(GONE)] == sorted(map(int, all_ids[:25]))


@pytest.mark.parametrize(("more", "flagged"), [(5, 1), (6, 0)])
def test_a_listing_that_is_shorter_than_the_crm_says_deletes_nothing(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, more: int, flagged: int
) -> None:
    materialize(["notes"])
    first, *_, last = ids(sandbox, "notes")
    sandbox.crm.delete("notes", last)
    sandbox.crm.update("notes", first, count=SMALL["notes"] - 1 + more)
    told = row_count(materialize(["notes"]))
    assert warehouse.query("SELECT count(_deleted_at) FROM crm.notes") == [(flagged,)]
    assert told[0] == bool(flagged)
    if not flagged:
        assert told[1].startswith("1 of 20 rows not in the last listing, which is shorter than the CRM says: nothing")


def test_a_small_table_and_a_share_within_the_guard_are_not_guarded(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    gone = {"deals": 24, "notes": SMALL["notes"] - 1, "milestone": SMALL["milestone"]}
    materialize([*gone])
    for resource, count in gone.items():
        for record_id in ids(sandbox, resource)[:count]:
            sandbox.crm.delete(resource, record_id)
    for _ in range(2):
        materialize([*gone])
    for resource, count in gone.items():
        assert warehouse.query(f"SELECT count(_deleted_at) FROM crm.{resource}") == [(count,)]


class TestHistory:
    @pytest.fixture(autouse=True)
    def of_deals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Switch the history of deals on."""
        monkeypatch.setenv("SYNC__DEALS__HISTORY", "true")

    def versions(self, warehouse: Warehouse, record_id: Any) -> list[tuple[Any, ...]]:
        """Return name and whether it is still valid, for each version of a deal, and check that they join up."""
        rows = warehouse.query(
            "SELECT name, _dlt_valid_from, _dlt_valid_to FROM crm.deals_history"
            f" WHERE id = {record_id} ORDER BY _dlt_valid_from"
        )
        for (_, _, end), (_, begin, _) in pairwise(rows):
            assert end <= begin
        return [(name, end is None) for name, _, end in rows]

    def test_every_version_is_kept_with_the_time_it_was_valid(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
    ) -> None:
        record = list(sandbox.crm.records("deals"))[7]
        materialize(["deals", "notes"])
        assert "notes_history" not in warehouse.tables()
        sandbox.crm.update("deals", record["id"], name="Second")
        materialize(["deals"])
        materialize(["deals"])
        assert self.versions(warehouse, record["id"]) == [(record["name"], False), ("Second", True)]
        sandbox.crm.delete("deals", record["id"])
        materialize(["deals"])
        assert self.versions(warehouse, record["id"]) == [(record["name"], False), ("Second", True)]
        materialize(["deals"])
        assert self.versions(warehouse, record["id"]) == [(record["name"], False), ("Second", False)]
        sandbox.crm.create("deals", {**record, "name": "Second"})
        materialize(["deals"])
        assert self.versions(warehouse, record["id"])[-1] == ("Second", True)
        assert warehouse.query("SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to IS NULL") == [
            (SMALL["deals"],)
        ]
        assert warehouse.query("SELECT count(*) FROM crm.deals_history") == [(SMALL["deals"] + 2,)]

    def test_a_new_field_makes_a_version_of_its_own_record_only(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
    ) -> None:
        materialize(["deals"])
        sandbox.crm.update("deals", ids(sandbox, "deals")[0], brand_new=1)
        materialize(["deals"])
        assert warehouse.query("SELECT count(*) FROM crm.deals_history") == [(SMALL["deals"] + 1,)]

    def test_deletes_that_are_held_back_end_no_version(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
    ) -> None:
        materialize(["deals"])
        all_ids = ids(sandbox, "deals")
        for record_id in all_ids[:30]:
            sandbox.crm.delete("deals", record_id)
        sandbox.crm.update("deals", all_ids[40], name="Second")
        materialize(["deals"])
        assert len(self.versions(warehouse, all_ids[40])) == 2
        assert warehouse.query("SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to IS NULL") == [
            (SMALL["deals"],)
        ]

    def test_a_delete_that_is_allowed_after_it_was_held_back_ends_its_version(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
    ) -> None:
        materialize(["deals"])
        for record_id in ids(sandbox, "deals")[:30]:
            sandbox.crm.delete("deals", record_id)
        materialize(["deals"])
        run_assets(instance, ["deals"], allow_deletes=True)
        valid = "SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to IS NULL"
        assert warehouse.query(valid) == [(90,)]
        sandbox.crm.delete("deals", ids(sandbox, "deals")[0])
        for _ in range(2):
            materialize(["deals"])
        assert warehouse.query(valid) == [(89,)]

    def test_an_empty_listing_ends_no_version_where_rows_are_kept(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SYNC__DEALS__DELETES", "keep")
        materialize(["deals"])
        for record_id in ids(sandbox, "deals"):
            sandbox.crm.delete("deals", record_id)
        materialize(["deals"])
        assert warehouse.query("SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to IS NULL") == [
            (SMALL["deals"],)
        ]

    def test_a_version_never_ends_before_it_began_also_where_a_clock_was_put_back(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
    ) -> None:
        record_id = ids(sandbox, "deals")[7]
        materialize(["deals"])
        warehouse.change("UPDATE crm.deals_history SET _dlt_valid_from = _dlt_valid_from + INTERVAL '1 day'")
        sandbox.crm.update("deals", record_id, name="Second")
        materialize(["deals"])
        assert warehouse.query("SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to < _dlt_valid_from") == [(0,)]
        assert [is_valid for _, is_valid in self.versions(warehouse, record_id)] == [False, True]

    def test_the_order_of_keys_makes_no_version_and_every_other_text_does(
        self, materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
    ) -> None:
        record_id = ids(sandbox, "deals")[7]
        sandbox.crm.update("deals", record_id, nested={"a": 1, "b": {"c": 2, "d": 3}}, xa="1\x1fxb=2")
        materialize(["deals"])
        sandbox.crm.update("deals", record_id, nested={"b": {"d": 3, "c": 2}, "a": 1})
        materialize(["deals"])
        assert len(self.versions(warehouse, record_id)) == 1
        sandbox.crm.update("deals", record_id, xa="1", xb="2")
        materialize(["deals"])
        assert len(self.versions(warehouse, record_id)) == 2


@pytest.mark.parametrize(
    "older", some({"updated_time": 999}, {}, {"updated_time": "999"}, {"updated_time": "never"}, always=2)
)
def test_of_two_versions_the_newer_one_is_kept_also_where_no_model_declares_when_it_changed(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, older: dict[str, Any]
) -> None:
    for place, record in ((3, {"updated_time": 1_700_000_000, "subject": "newer"}), (9, {**older, "subject": "older"})):
        sandbox.crm.replace("tasks", place, {"id": 981, "created_time": 1_600_000_000, **record})
    assert materialize(["tasks", "notes"]).success
    assert warehouse.query("SELECT subject FROM crm.tasks WHERE id = 981") == [("newer",)]
    assert warehouse.tables()["notes"] == SMALL["notes"]


def test_a_record_that_moves_while_the_listing_is_read_lands_once_in_its_newest_version(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    records = list(sandbox.crm.records("contacts"))
    moved = {**records[5], "updated_time": 1_900_000_000, "source": "moved"}
    sandbox.crm.replace("contacts", 240, moved)
    sandbox.crm.replace("contacts", 7, {**records[150], "updated_time": 1_900_000_000, "source": "newer first"})
    result = materialize(["contacts"])
    assert warehouse.query(
        f"SELECT id, source FROM crm.contacts WHERE id IN ({records[5]['id']}, {records[150]['id']}) ORDER BY source"
    ) == [(int(records[5]["id"]), "moved"), (int(records[150]["id"]), "newer first")]
    assert warehouse.query("SELECT count(*) FROM crm.contacts") == [(SMALL["contacts"] - 2,)]
    [unique] = [one for one in result.get_asset_check_evaluations() if one.check_name == "unique_id"]
    assert (unique.passed, unique.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(unique.description).startswith("2 records changed while the listing was read, and came twice: ")
