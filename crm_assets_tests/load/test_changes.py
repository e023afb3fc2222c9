"""How many rows a load says that it changed."""

import dagster as dg
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Materialize, Warehouse


def changed(result: dg.ExecuteInProcessResult) -> int:
    """Return what its one materialization says."""
    assert result.success
    (event,) = result.get_asset_materialization_events()
    value = event.materialization.metadata.get("rows_changed")
    return 0 if value is None else int(str(value.value))


def test_a_row_counts_as_changed_when_a_value_of_the_record_is_another(
    materialize: Materialize, sandbox: Sandbox
) -> None:
    first, second, third, *_ = [record["id"] for record in sandbox.crm.records("deals")]
    assert changed(materialize(["deals"])) == 0
    assert changed(materialize(["deals"])) == 0
    sandbox.crm.update("deals", first, name="Another name")
    sandbox.crm.update("deals", second, expected_value=None)
    sandbox.crm.delete("deals", third)
    sandbox.crm.create("deals", {"name": "New"})
    assert changed(materialize(["deals"])) == 2
    assert changed(materialize(["deals"])) == 0


def test_a_field_that_is_new_changes_the_rows_that_have_it(materialize: Materialize, sandbox: Sandbox) -> None:
    materialize(["deals"])
    first = next(sandbox.crm.records("deals"))["id"]
    sandbox.crm.update("deals", first, region="north")
    assert changed(materialize(["deals"])) == 1


def test_a_record_that_comes_back_is_new_and_not_changed(
    materialize: Materialize, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__DELETES_CONFIRM", "none")
    record = next(sandbox.crm.records("deals"))
    materialize(["deals"])
    sandbox.crm.delete("deals", record["id"])
    materialize(["deals"])
    sandbox.crm.create("deals", dict(record) | {"name": "Back"})
    result = materialize(["deals"])
    assert changed(result) == 0


def test_what_did_not_change_is_not_written_again_and_counts_as_loaded(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    for number in range(8_000):
        sandbox.crm.create("deals", {"name": f"Deal {number} {number**9:x}", "description": f"{number**60:x}"})
    assert materialize(["deals"]).success
    size, rows = warehouse.path.stat().st_size, warehouse.query("SELECT * EXCLUDE _dlt_load_id FROM crm.deals")
    sandbox.crm.update("deals", rows[0][0], name="Another name")
    again = materialize(["deals"])
    assert changed(again) == 1
    assert all(one.passed for one in again.get_asset_check_evaluations())
    assert warehouse.path.stat().st_size < 1.3 * size
    assert len(set(warehouse.query("SELECT * EXCLUDE _dlt_load_id FROM crm.deals")) ^ set(rows)) == 2
    assert warehouse.query("SELECT count(DISTINCT _dlt_load_id) FROM crm.deals") == [(1,)]


def test_nothing_of_the_comparison_stays_in_the_warehouse(materialize: Materialize, warehouse: Warehouse) -> None:
    materialize(["deals"])
    materialize(["deals"])
    assert [name for name in warehouse.tables() if "before" in name or "unchanged" in name] == []
