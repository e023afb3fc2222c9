"""What holds of the tables in every warehouse; `test_contract.py` has what holds of each resource of each API."""

import json
from collections.abc import Callable

import dagster as dg
import pytest

from crm_assets.orchestration import build_defs
from crm_assets.orchestration.keys import checks_job
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Command, Materialize, an_account, failure_of
from crm_assets_tests.quality.test_checks import failures
from crm_assets_tests.warehouses import AnyWarehouse

pytestmark = pytest.mark.each_warehouse

RunChecks = Callable[[], dg.ExecuteInProcessResult]


@pytest.fixture
def run_checks(instance: dg.DagsterInstance) -> RunChecks:
    """Check all tables, and load nothing."""

    def run() -> dg.ExecuteInProcessResult:
        job = build_defs(an_account()).resolve_job_def(checks_job(an_account()))
        silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return job.execute_in_process(instance=instance, raise_on_error=False, run_config=silent)

    return run


def test_a_fault_that_somebody_brings_into_a_table_is_found_and_the_next_load_ends_it(
    materialize: Materialize, warehouse: AnyWarehouse, run_checks: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    faults = {
        "UPDATE crm.deals SET expected_value = -1": {"deals.unchanged", "deals.ranges"},
        "DELETE FROM crm.notes": {"notes.unchanged", "notes.complete", "notes.row_count", "notes.history"},
        "INSERT INTO crm.tasks SELECT * FROM crm.tasks": {"tasks.unchanged", "tasks.unique_id", "tasks.complete"},
        "UPDATE crm.events_history SET title = 'x'": {"events.unchanged"},
        "DELETE FROM crm.documents_history": {"documents.unchanged", "documents.history"},
    }
    touched = [sql.partition("crm.")[2].split()[0].removesuffix("_history") for sql in faults]
    assert failures(materialize(touched)) == {}
    assert failures(run_checks()).keys() == {f"{name}.schema" for name in SMALL.keys() - {*touched}}
    for sql in faults:
        warehouse.change(sql)
    found = {name for name in failures(run_checks()) if name.partition(".")[0] in touched}
    assert found == set().union(*faults.values())
    assert failures(materialize(touched)) == {}


def test_what_does_not_fit_goes_to_a_variant_column_and_what_cannot_be_a_row_is_kept(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse
) -> None:
    first, second, *_ = [record["id"] for record in sandbox.crm.records("deals")]
    sandbox.crm.update("deals", first, probability="high", expected_value={"EUR": 5})
    sandbox.crm.replace("deals", 1, {"name": "nobody", "created_time": 1_700_000_000})
    said = failures(materialize(["deals"]))
    assert (
        warehouse.rows("deals", where=f"id = {first}")[0].items()
        >= {
            "probability": None,
            "probability__v_text": "high",
            "expected_value__v_json": {"EUR": 5},
        }.items()
    )
    assert warehouse.query(f"SELECT count(*) FROM crm.deals WHERE id = {second}") == [(0,)]
    [(resource, record)] = warehouse.query("SELECT resource, CAST(record AS VARCHAR) FROM crm.rejected_records")
    assert (resource, '"nobody"' in record) == ("deals", True)
    assert said.keys() == {"deals.types", "deals.rejected"}


def test_a_column_of_another_type_stops_its_table_alone_and_the_message_makes_room(
    materialize: Materialize, warehouse: AnyWarehouse
) -> None:
    materialize(["deals", "notes"])
    warehouse.change("ALTER TABLE crm.deals ALTER COLUMN expected_value TYPE VARCHAR")
    result = materialize(["deals", "notes"])
    said = failure_of(result)
    assert said.startswith("deals did not load. The table notes is loaded.\ndeals: deals.expected_value is ")
    warehouse.make_room("crm", "deals", said)
    assert materialize(["deals"]).success
    assert warehouse.query("SELECT count(expected_value) FROM crm.deals") != [(0,)]


def test_a_listing_that_broke_off_is_resumed(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse
) -> None:
    sandbox.fault(Fault("contacts", "status", after=2, status=500))
    assert not materialize(["contacts"]).success
    assert warehouse.tables().get("contacts", 0) == 0
    sandbox.clear_faults()
    before = sandbox.requests["contacts"]
    assert materialize(["contacts"]).success
    assert warehouse.tables()["contacts"] == SMALL["contacts"]
    assert sandbox.requests["contacts"] - before == 1


def test_the_report_says_what_is_there(
    materialize: Materialize, warehouse: AnyWarehouse, settings: dict[str, str], crm_assets: Command
) -> None:
    done = crm_assets("sync", "notes", **warehouse.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    report = crm_assets("report", "--format", "json", **warehouse.environment)
    [notes] = [one for one in json.loads(report.stdout)["assets"] if one["key"] == "crm/notes"]
    assert (notes["rows"], notes["ok"], notes["last_load"]["outcome"]) == (SMALL["notes"], True, "landed")
    assert f".{notes['table']}".endswith(".crm.notes")
