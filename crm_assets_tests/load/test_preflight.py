"""What somebody else changed in the warehouse: one table fails with the SQL that ends it, or it is repaired."""

import dagster as dg
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Materialize, Warehouse, failure_of, some
from crm_assets_tests.quality.test_checks import failures

REMEDY = "and the next run loads it: "
REMEDY_OF_ALL = "and run again: "
LEFT_BY_A_KILL = "CREATE SCHEMA crm_staging;" + "".join(
    f"CREATE TABLE crm_staging.{name} AS FROM crm.{name};" for name in ("deals", "notes", "tasks", "_dlt_version")
)


@pytest.fixture
def deal(sandbox: Sandbox) -> str:
    """The id of a deal that has an undeclared field."""
    record_id = str(next(iter(sandbox.crm.records("deals")))["id"])
    sandbox.crm.update("deals", record_id, fresh={"a": 0})
    return record_id


def said_in(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


def next_run_is_right(materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str) -> None:
    """Load once more, after a change in the CRM, and check what is in the warehouse."""
    sandbox.crm.update("deals", deal, fresh={"a": 2}, name="New name")
    assert materialize(["deals", "notes"]).success
    assert warehouse.query(f"SELECT name, fresh FROM crm.deals WHERE id = {deal}") == [("New name", '{"a":2}')]
    assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM crm.deals") == [(SMALL["deals"], SMALL["deals"])]
    assert materialize(["deals", "notes"]).success


@pytest.mark.parametrize(
    ("change", "said"),
    some(
        ("ALTER TABLE crm.deals ALTER fresh TYPE INTEGER USING 1", "deals.fresh is INTEGER and must be JSON"),
        ("ALTER TABLE crm.deals ADD COLUMN later INTEGER", "deals.later is INTEGER and must be VARCHAR"),
        (
            "ALTER TABLE crm.deals ALTER expected_value TYPE DECIMAL(18,2)",
            "deals.expected_value is DECIMAL(18,2) and must be DOUBLE",
        ),
        (
            "ALTER TABLE crm.deals ALTER _deleted_at TYPE VARCHAR",
            "deals._deleted_at is VARCHAR and must be TIMESTAMP WITH TIME ZONE",
        ),
        ("ALTER TABLE crm.deals ALTER id TYPE HUGEINT", "deals.id is HUGEINT and must be BIGINT"),
        (
            "ALTER TABLE crm.deals ADD COLUMN mine INTEGER DEFAULT 1; ALTER TABLE crm.deals ALTER mine SET NOT NULL;"
            "ALTER TABLE crm.deals ALTER mine DROP DEFAULT",
            "deals.mine must not be NULL, and no field of the CRM fills it",
        ),
        ("ALTER TABLE crm.deals DROP COLUMN _dlt_load_id", "deals has no column _dlt_load_id"),
        (
            "ALTER TABLE crm.deals RENAME TO deals_old; CREATE VIEW crm.deals AS SELECT * FROM crm.deals_old",
            "deals is a view, not a table",
        ),
    ),
)
def test_a_table_that_somebody_changed_fails_alone_and_the_message_is_the_way_out(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str, change: str, said: str
) -> None:
    for _ in range(2):  # the note that dlt keeps of the tables is the same from the second load on
        assert materialize(["deals", "notes"]).success
    warehouse.query(change)
    before = warehouse.query("SELECT * FROM crm.deals ORDER BY id")
    sandbox.crm.update("deals", deal, fresh={"a": 1}, later="b", name="Other name")
    sandbox.crm.create("notes")
    for _ in range(2):
        failed = materialize(["deals", "notes"])
        assert not failed.success
        assert failure_of(failed).startswith(
            f"deals did not load. The table notes is loaded.\ndeals: {said}. Its tables are untouched. "
        )
    assert warehouse.query("SELECT * FROM crm.deals ORDER BY id") == before
    assert warehouse.tables()["notes"] == SMALL["notes"] + 1
    warehouse.query(failure_of(failed).partition(REMEDY)[2])
    next_run_is_right(materialize, sandbox, warehouse, deal)


@pytest.mark.parametrize(
    ("change", "said"),
    some(
        ("ALTER TABLE crm.deals_history ALTER fresh TYPE INTEGER USING 1", ".fresh is INTEGER and must be JSON"),
        ("ALTER TABLE crm.deals_history ALTER _dlt_valid_to TYPE VARCHAR", "._dlt_valid_to is VARCHAR and must be "),
        (
            "ALTER TABLE crm.deals_history RENAME TO old; CREATE VIEW crm.deals_history AS SELECT * FROM crm.old",
            " is a view, not a table",
        ),
    ),
)
def test_so_does_one_whose_history_somebody_changed(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    deal: str,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    said: str,
) -> None:
    monkeypatch.setenv("SYNC__DEALS__HISTORY", "true")
    assert materialize(["deals", "notes"]).success
    warehouse.query(change)
    sandbox.crm.update("deals", deal, name="Other name")
    failed = materialize(["deals", "notes"])
    assert f"deals: deals_history{said}" in failure_of(failed)
    assert warehouse.query("SELECT count(*) FROM crm.deals WHERE name = 'Other name'") == [(0,)]
    warehouse.query(failure_of(failed).partition(REMEDY)[2])
    next_run_is_right(materialize, sandbox, warehouse, deal)
    assert warehouse.query(f"SELECT count(*) FROM crm.deals_history WHERE id = {deal} AND name = 'New name'") == [(1,)]


@pytest.mark.thorough
def test_a_name_that_is_taken_is_not_proposed(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str
) -> None:
    for kind in ("INTEGER", "SMALLINT", "DATE"):
        materialize(["deals", "notes"])
        warehouse.query(f"ALTER TABLE crm.deals ALTER fresh TYPE {kind} USING NULL")
        warehouse.query(failure_of(materialize(["deals", "notes"])).partition(REMEDY)[2])
    next_run_is_right(materialize, sandbox, warehouse, deal)
    columns = warehouse.columns("deals")
    assert [columns[name] for name in ("fresh", "fresh_before", "fresh_before_2", "fresh_before_3")] == [
        "JSON",
        "INTEGER",
        "SMALLINT",
        "DATE",
    ]


@pytest.mark.parametrize(("kind", "column"), some(("VARCHAR", "fresh"), ("DOUBLE USING 1", "fresh__v_json")))
def test_an_undeclared_column_to_which_somebody_gave_another_type_keeps_it(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str, kind: str, column: str
) -> None:
    for _ in range(2):
        assert materialize(["deals", "notes"]).success
    warehouse.query(f"ALTER TABLE crm.deals ALTER fresh TYPE {kind}")
    sandbox.crm.update("deals", deal, fresh={"a": 1})
    for _ in range(2):
        assert materialize(["deals", "notes"]).success
    assert warehouse.columns("deals")["fresh"] == kind.split(maxsplit=1)[0]
    assert warehouse.query(f"SELECT {column} FROM crm.deals WHERE id = {deal}") == [('{"a":1}',)]


@pytest.mark.thorough
def test_a_column_that_no_field_wants_may_be_of_any_type(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str
) -> None:
    materialize(["deals", "notes"])
    warehouse.query("ALTER TABLE crm.deals ADD COLUMN mine INTEGER")
    next_run_is_right(materialize, sandbox, warehouse, deal)


@pytest.mark.parametrize(
    "change",
    some(
        "INSERT INTO crm_staging.deals BY NAME SELECT NULL AS id",
        "ALTER TABLE crm_staging.deals ALTER fresh TYPE INTEGER USING 1",
        "ALTER TABLE crm_staging.deals ALTER name SET NOT NULL;"
        "UPDATE crm_staging._dlt_version SET schema = 'x', version_hash = 'x'",
        "ALTER TABLE crm_staging.deals ADD COLUMN old INTEGER DEFAULT 1;"
        "ALTER TABLE crm_staging.deals ALTER old SET NOT NULL; ALTER TABLE crm_staging.deals ALTER old DROP DEFAULT",
        "ALTER TABLE crm_staging.deals DROP COLUMN fresh",
        "DROP TABLE crm_staging.deals",
        "DROP TABLE crm_staging.deals; CREATE VIEW crm_staging.deals AS SELECT 1 AS id",
        "DROP TABLE crm_staging.tasks; CREATE VIEW crm_staging.tasks AS SELECT 1 AS id",
        "DROP TABLE crm_staging._dlt_version",
        "ALTER TABLE crm_staging._dlt_version DROP COLUMN schema",
        "DROP SCHEMA crm_staging CASCADE",
    ),
)
def test_whatever_a_broken_load_left_in_the_staging_tables_the_next_load_works(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str, change: str
) -> None:
    assert materialize(["deals", "notes", "tasks"]).success
    warehouse.query(LEFT_BY_A_KILL)
    warehouse.query(change)
    next_run_is_right(materialize, sandbox, warehouse, deal)
    assert not warehouse.query("SELECT * FROM information_schema.tables WHERE table_schema = 'crm_staging'")


@pytest.mark.parametrize(
    "change",
    some(
        "UPDATE crm._dlt_version SET schema = 'x'",
        "UPDATE crm._dlt_version SET schema = '{}'",
        "UPDATE crm._dlt_version SET schema = '[1]'",
        "UPDATE crm._dlt_pipeline_state SET state = 'x'",
        "UPDATE crm._dlt_pipeline_state SET state = 'eA=='",
    ),
)
def test_what_dlt_notes_of_its_tables_is_written_anew_when_it_cannot_be_read(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    deal: str,
    change: str,
) -> None:
    for _ in range(2):
        assert materialize(["deals", "notes", "tasks"]).success
    warehouse.query(change)
    result = materialize(["deals", "notes"])
    assert result.success
    assert said_in(instance, result).count("could not be read (") == 1
    next_run_is_right(materialize, sandbox, warehouse, deal)
    assert materialize(["tasks"]).success
    assert warehouse.tables() == {**{name: SMALL[name] for name in ("deals", "notes", "tasks")}, "rejected_records": 0}


@pytest.mark.parametrize(
    ("change", "gone"),
    some(
        ("DROP TABLE crm.deals", "deals"),
        ("ALTER TABLE crm.deals DROP COLUMN fresh", "deals.fresh"),
        ("DROP TABLE crm.rejected_records", "rejected_records"),
        ("DROP TABLE crm._dlt_loads", "_dlt_loads"),
        ("DROP TABLE crm._dlt_pipeline_state", "_dlt_pipeline_state"),
    ),
)
def test_a_table_or_column_that_somebody_took_away_is_made_anew(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    deal: str,
    change: str,
    gone: str,
) -> None:
    for _ in range(2):
        assert materialize(["deals", "notes"]).success
    warehouse.query(change)
    result = materialize(["deals", "notes"])
    assert result.success
    assert f"Missing in the warehouse; this load creates them again: {gone}." in said_in(instance, result)
    next_run_is_right(materialize, sandbox, warehouse, deal)


@pytest.mark.parametrize(
    ("change", "said"),
    some(
        ("ALTER TABLE crm._dlt_version DROP COLUMN schema", "_dlt_version has no column schema"),
        ("ALTER TABLE crm._dlt_pipeline_state DROP COLUMN state", "_dlt_pipeline_state has no column state"),
        ("ALTER TABLE crm._dlt_loads DROP COLUMN status", "_dlt_loads has no column status"),
        (
            "ALTER TABLE crm._dlt_loads RENAME TO old; CREATE VIEW crm._dlt_loads AS SELECT * FROM crm.old",
            "_dlt_loads is a view, not a table",
        ),
        (
            "ALTER TABLE crm.rejected_records ALTER record_id TYPE INTEGER",
            "rejected_records.record_id is INTEGER and must be VARCHAR",
        ),
    ),
)
def test_a_table_that_every_load_writes_stops_all_of_them_with_the_way_out(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str, change: str, said: str
) -> None:
    for _ in range(2):
        assert materialize(["deals", "notes"]).success
    warehouse.query(change)
    failed = failure_of(materialize(["deals", "notes"]))
    assert failed.startswith(f"No table can be loaded: {said}. No table was changed. ")
    warehouse.query(failed.partition(REMEDY_OF_ALL)[2])
    next_run_is_right(materialize, sandbox, warehouse, deal)


def test_a_warehouse_that_nobody_touched_is_repaired_by_nobody(
    materialize: Materialize, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    notes = "SELECT count(*) FROM crm._dlt_version"
    materialize(["deals", "notes"])
    materialize(["deals", "notes"])
    before = warehouse.query(notes)
    for names in (["deals", "notes"], ["deals"], ["notes"]):
        result = materialize(names)
        assert result.success
        assert "creates them again" not in said_in(instance, result)
    assert warehouse.query(notes) == before


def test_a_fault_that_nobody_foresaw_says_only_what_is_true(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str
) -> None:
    assert materialize(["deals"]).success
    warehouse.query(
        "CREATE TABLE crm.other AS SELECT * FROM crm.deals; DROP TABLE crm.deals;"
        f"CREATE TABLE crm.deals (id BIGINT NOT NULL CHECK (id <> {deal}), _dlt_load_id VARCHAR NOT NULL)"
    )
    said = failure_of(materialize(["deals"]))
    assert said.startswith("Loading into crm failed in dlt's step load: Constraint Error: CHECK constraint failed")
    assert said.endswith(
        ". Tables that were not reached are as they were. Once the cause is gone, a run loads everything again."
    )


def test_a_table_that_the_warehouse_refuses_stops_no_other(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, deal: str
) -> None:
    assert materialize(["deals", "notes"]).success
    warehouse.query(
        "CREATE TABLE crm.other AS SELECT * FROM crm.deals; DROP TABLE crm.deals;"
        f"CREATE TABLE crm.deals (id BIGINT NOT NULL CHECK (id <> {deal}), _dlt_load_id VARCHAR NOT NULL)"
    )
    first, *_, last = [record["id"] for record in sandbox.crm.records("notes")]
    sandbox.crm.update("notes", first, subject="Changed", count=SMALL["notes"] - 1)
    sandbox.crm.delete("notes", last)
    result = materialize(["deals", "notes"])
    assert failure_of(result).startswith(
        "deals did not load. The table notes is loaded.\ndeals: Loading into crm failed in dlt's step load: Constraint"
    )
    assert warehouse.query(f"SELECT subject FROM crm.notes WHERE id = {first}") == [("Changed",)]
    assert warehouse.query("SELECT id FROM crm.notes WHERE _deleted_at IS NOT NULL") == [(int(last),)]
    assert not {name: said for name, said in failures(result).items() if name.startswith("notes")}
    assert warehouse.query("SELECT count(*) FROM crm.resource_loads WHERE rows_after IS NOT NULL") == [(3,)]
