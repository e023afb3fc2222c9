"""Each defect fails exactly the check that is named for it, and the check says where to look."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.definitions import defs
from crm_assets.load.warehouse import open_warehouse
from crm_assets.orchestration import build_defs
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.keys import asset_key
from crm_assets.quality.checks import CHECKS, checks_of
from crm_assets.quality.table_probe import TableProbe
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import (
    API_KEY,
    EMAIL,
    RESOURCES,
    SMALL,
    Materialize,
    Warehouse,
    an_account,
    failure_of,
    run_assets,
    warehouse_in,
)

REFERS_TO = {"contacts": "companies", "deals": "contacts", "notes": "contacts", "tasks": "deals", "tickets": "contacts"}
RunChecks = Callable[..., dg.ExecuteInProcessResult]
Failures = dict[str, tuple[str, str]]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small CRM without undeclared fields: there is nothing to find."""
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY, undeclared=False) as running:
        yield running


@pytest.fixture
def run_checks(warehouse: Warehouse, instance: dg.DagsterInstance) -> RunChecks:
    """Run only the checks of the given resources, and load nothing."""

    def run(*resources: str) -> dg.ExecuteInProcessResult:
        account = an_account()
        selection = dg.AssetSelection.checks_for_assets(*(asset_key(account, name) for name in resources))
        job = dg.define_asset_job("only_checks", selection=selection)
        everything = dg.Definitions.merge(build_defs(account), dg.Definitions(jobs=[job]))
        return everything.resolve_job_def("only_checks").execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    return run


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse in which contacts and deals are loaded, with their histories."""
    return clean_load(tmp_path_factory.mktemp("loaded"), ["contacts", "deals"], SYNC__HISTORY="true")


@pytest.fixture(scope="module")
def all_loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse in which every table is loaded that a test spoils."""
    return clean_load(tmp_path_factory.mktemp("all_loaded"), sorted({*REFERS_TO, *REFERS_TO.values()}))


@pytest.fixture
def sound(all_loaded: Path, warehouse: Warehouse) -> Warehouse:
    """The warehouse of this test, loaded, with nothing wrong in it."""
    warehouse.path.parent.mkdir()
    shutil.copy(all_loaded, warehouse.path)
    return warehouse


def clean_load(directory: Path, resources: Sequence[str], **settings: str) -> Path:
    """Load `resources` of a CRM in which there is nothing to find, and return the DuckDB file."""
    with (
        Sandbox(SMALL, email=EMAIL, api_key=API_KEY, undeclared=False) as crm,
        dg.DagsterInstance.ephemeral() as history,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in settings.items():
            environment.setenv(name, value)
        warehouse = warehouse_in(directory, crm, environment)
        assert failures(run_assets(history, resources)) == {}
        return warehouse.path


def failures(result: dg.ExecuteInProcessResult) -> Failures:
    """Return severity and words of each check that failed, by `resource.check`."""
    return {
        f"{one.asset_key.path[-1]}.{one.check_name}": (one.severity.value, str(one.description))
        for one in result.get_asset_check_evaluations()
        if not one.passed
    }


def every_record(sandbox: Sandbox, resource: str, **fields: Any) -> None:
    for record in list(sandbox.crm.records(resource)):
        sandbox.crm.update(resource, record["id"], **fields)


def change_a_type(sandbox: Sandbox) -> None:
    for record in list(sandbox.crm.records("contacts")):
        if record.get("is_client_import") is not None:
            sandbox.crm.update("contacts", record["id"], is_client_import=str(record["is_client_import"]).lower())


def cut_to_a_tenth(sandbox: Sandbox) -> None:
    for record in list(sandbox.crm.records("deals"))[12:]:
        sandbox.crm.delete("deals", record["id"])


def repeat_an_id(sandbox: Sandbox) -> None:
    sandbox.crm.replace("contacts", 240, {"id": 981, "type": "PERSON"})
    sandbox.crm.replace("contacts", 5, {"id": 981, "type": "PERSON"})


DEFECTS: list[tuple[str, Callable[[Sandbox], object], str, str, str]] = [
    ("a type changed", change_a_type, "contacts.drift", "WARN", "is_client_import was boolean, is string"),
    (
        "a field is gone",
        lambda crm: every_record(crm, "contacts", source=None),
        "contacts.drift",
        "WARN",
        "source is no longer sent",
    ),
    (
        "a new field",
        lambda crm: crm.crm.create("notes", {"id": 7, "brandNew": 1}),
        "notes.drift",
        "WARN",
        "brandNew is new",
    ),
    (
        "a null id",
        lambda crm: crm.crm.replace("deals", 3, {"id": None}),
        "deals.rejected",
        "WARN",
        "no id: id is missing",
    ),
    (
        "a text for a number",
        lambda crm: crm.crm.update("deals", next(crm.crm.records("deals"))["id"], probability="high"),
        "deals.types",
        "WARN",
        "probability is text in 1 row, see probability__v_text: ids ",
    ),
    ("an id twice, on two pages", repeat_an_id, "contacts.unique_id", "WARN", "1 id more than once: 981"),
    (
        "an id twice, on one page",
        lambda crm: crm.crm.replace("notes", 1, next(crm.crm.records("notes"))),
        "notes.unique_id",
        "ERROR",
        "1 id more than once: ",
    ),
    (
        "a cut listing",
        cut_to_a_tenth,
        "deals.row_count",
        "ERROR",
        "108 of 120 rows not in the last listing, more than sync.delete_guard allows: nothing was deleted",
    ),
    (
        "a reference to nothing",
        lambda crm: every_record(crm, "notes", contact_ids=["4711"]),
        "notes.references",
        "WARN",
        "20 of 20 in contact_ids have no target: 4711",
    ),
    (
        "a time in the far future",
        lambda crm: crm.crm.update("tasks", next(crm.crm.records("tasks"))["id"], created_time=4_900_000_000),
        "tasks.ranges",
        "WARN",
        "created_time is in the future in 1 row",
    ),
    (
        "a plan for the year 2401",
        lambda crm: crm.crm.update("tasks", next(crm.crm.records("tasks"))["id"], due=13_620_000_000),
        "tasks.ranges",
        "WARN",
        "due is after 2400 in 1 row",
    ),
    (
        "a probability of 150",
        lambda crm: crm.crm.update("deals", next(crm.crm.records("deals"))["id"], probability=150),
        "deals.ranges",
        "WARN",
        "probability is above 100 in 1 row",
    ),
    (
        "an e-mail without an @",
        lambda crm: crm.crm.update("tickets", next(crm.crm.records("tickets"))["id"], requester_email="nobody"),
        "tickets.ranges",
        "WARN",
        "requester_email has no @ in 1 row",
    ),
    (
        "a count that differs",
        lambda crm: crm.crm.update("notes", next(crm.crm.records("notes"))["id"], count=99),
        "notes.complete",
        "ERROR",
        "reports 99 records; 20 fetched",
    ),
]


def test_a_clean_crm_passes_every_check(materialize: Materialize) -> None:
    for result in (materialize(), materialize()):
        assert result.success
        assert failures(result) == {}
        assert len(result.get_asset_check_evaluations()) == len(check_specs(an_account()))


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(("defect", "plant", "check", "severity", "words"), DEFECTS, ids=[one[0] for one in DEFECTS])
def test_a_defect_of_the_crm_fails_exactly_the_check_named_for_it(
    materialize: Materialize,
    sandbox: Sandbox,
    defect: str,
    plant: Callable[[Sandbox], object],
    check: str,
    severity: str,
    words: str,
) -> None:
    resource, _, _ = check.partition(".")
    plant(sandbox)
    found = failures(materialize([resource, REFERS_TO[resource]]))
    assert found.keys() == {check}
    assert found[check][0] == severity
    assert words in found[check][1]


CHANGED = {"deals.unchanged": ("ERROR", "Since the load of 20")}
TAMPERED: list[tuple[str, dict[str, tuple[str, str]]]] = [
    (
        "ALTER TABLE crm.deals DROP COLUMN milestone",
        {"deals.schema": ("ERROR", "milestone is missing"), "deals.unchanged": ("ERROR", "has no column milestone")},
    ),
    (
        "ALTER TABLE crm.deals ALTER probability TYPE VARCHAR",
        {"deals.schema": ("ERROR", "probability is VARCHAR, not bigint"), **CHANGED},
    ),
    (
        "ALTER TABLE crm.deals ALTER id DROP NOT NULL;"
        " UPDATE crm.deals SET id = NULL WHERE id = (SELECT min(id) FROM crm.deals)",
        {"deals.nulls": ("ERROR", "id is NULL in 1 row"), **CHANGED},
    ),
    (
        "INSERT INTO crm.deals SELECT * REPLACE ('by hand' AS _dlt_load_id) FROM crm.deals LIMIT 2",
        {
            "deals.unique_id": ("ERROR", "2 rows repeat an id"),
            "deals.complete": ("WARN", "A load was interrupted"),
            "deals.unchanged": ("WARN", "A load was interrupted"),
        },
    ),
    (
        "UPDATE crm.resource_loads SET rows_after = NULL, fingerprints = NULL WHERE resource = 'deals'",
        {"deals.complete": ("WARN", "A load was interrupted")},
    ),
    (
        "DELETE FROM crm.deals USING (SELECT id FROM crm.deals LIMIT 10) d WHERE crm.deals.id = d.id",
        {
            "deals.complete": ("ERROR", "wrote 120 rows; 110 of them"),
            "deals.unchanged": ("ERROR", "at least 10 rows of deals changed, came or went"),
        },
    ),
    (
        "DELETE FROM crm.deals",
        {
            "deals.complete": ("ERROR", "wrote 120 rows; 0 of them"),
            "deals.row_count": ("ERROR", "The table has 0 rows; it had 120"),
            "deals.unchanged": ("ERROR", "at least 120 rows of deals changed, came or went"),
        },
    ),
    (
        "UPDATE crm.deals SET expected_value = -1",
        {"deals.ranges": ("WARN", "expected_value is below 0 in 120 rows"), **CHANGED},
    ),
    (
        "UPDATE crm.deals SET _deleted_at = now()",
        {"deals.row_count": ("ERROR", "The table has 0 rows; it had 120"), **CHANGED},
    ),
    (
        "CREATE TEMP TABLE two AS SELECT id, row_number() OVER (ORDER BY id) place FROM crm.deals ORDER BY id LIMIT 2;"
        " UPDATE crm.deals SET id = -place FROM two WHERE deals.id = two.id;"
        " UPDATE crm.deals SET id = two.id FROM two WHERE deals.id = -(3 - two.place)",
        {"deals.unchanged": ("ERROR", "at least 2 rows of deals changed, came or went")},
    ),
    ("UPDATE crm.deals SET name = 'one for all'", CHANGED),
    ("UPDATE crm.deals SET expected_value = expected_value * 100", CHANGED),
    ("UPDATE crm.deals SET created_time = created_time - INTERVAL 1 YEAR", CHANGED),
    (
        "UPDATE crm.deals SET id = 7000 + id % 1000, name = 'made up' WHERE id IN (SELECT id FROM crm.deals LIMIT 10)",
        CHANGED,
    ),
    (
        "UPDATE crm.deals SET custom_data = '[]' WHERE id = (SELECT min(id) FROM crm.deals WHERE custom_data <> '[]')",
        {"deals.unchanged": ("ERROR", "at least 1 row of deals changed, came or went")},
    ),
]
TAMPERED_HISTORY: list[tuple[str, dict[str, tuple[str, str]]]] = [
    (
        "DELETE FROM crm.deals_history",
        {
            "deals.history": ("ERROR", "120 records have no current version."),
            "deals.unchanged": ("ERROR", "at least 120 rows of deals_history changed, came or went"),
        },
    ),
    (
        "DROP TABLE crm.deals_history",
        {
            "deals.history": ("ERROR", "120 records have no history."),
            "deals.unchanged": ("ERROR", "deals_history is gone"),
        },
    ),
    (
        "ALTER TABLE crm.deals_history ALTER _dlt_valid_to TYPE VARCHAR",
        {"deals.history": ("ERROR", "120 records have versions without times.")},
    ),
    (
        "INSERT INTO crm.deals_history SELECT * FROM crm.deals_history LIMIT 1",
        {
            "deals.history": (
                "ERROR",
                "1 record have several current versions; 1 record have versions that overlap.",
            ),
            **CHANGED,
        },
    ),
    (
        "UPDATE crm.deals SET _deleted_at = now() WHERE id = (SELECT min(id) FROM crm.deals)",
        {"deals.history": ("ERROR", "1 record have a current version and no row"), **CHANGED},
    ),
]


@pytest.mark.parametrize(("sql", "wanted"), TAMPERED, ids=[one[0][:40] for one in TAMPERED])
def test_a_warehouse_that_was_tampered_with_is_found_by_the_checks_alone(
    loaded: Path,
    run_checks: RunChecks,
    warehouse: Warehouse,
    sandbox: Sandbox,
    sql: str,
    wanted: dict[str, tuple[str, str]],
) -> None:
    warehouse.path.parent.mkdir()
    shutil.copy(loaded, warehouse.path)
    warehouse.query(sql)
    result = run_checks("deals")
    assert result.success
    found = failures(result)
    assert {name: severity for name, (severity, _) in found.items()} == {name: one[0] for name, one in wanted.items()}
    for name, (_, words) in wanted.items():
        assert words in found[name][1]
    assert not sandbox.requests
    assert not result.get_asset_materialization_events()


@pytest.mark.parametrize(("sql", "wanted"), TAMPERED_HISTORY, ids=[one[0][:40] for one in TAMPERED_HISTORY])
def test_a_history_that_was_tampered_with_is_found_too(
    loaded: Path,
    run_checks: RunChecks,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    sql: str,
    wanted: dict[str, tuple[str, str]],
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    warehouse.path.parent.mkdir()
    shutil.copy(loaded, warehouse.path)
    assert failures(run_checks("deals")) == {}
    warehouse.query(sql)
    found = failures(run_checks("deals"))
    assert {name: severity for name, (severity, _) in found.items()} == {name: one[0] for name, one in wanted.items()}
    for name, (_, words) in wanted.items():
        assert words in found[name][1]


def test_a_fingerprint_of_another_version_of_the_warehouse_is_not_compared_and_says_so(
    loaded: Path, run_checks: RunChecks, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    warehouse.path.parent.mkdir()
    shutil.copy(loaded, warehouse.path)
    warehouse.query("UPDATE crm.deals SET name = 'one for all'")
    warehouse.query("UPDATE crm.resource_loads SET fingerprints = replace(fingerprints, 'duckdb v', 'duckdb w')")
    [unchanged] = [one for one in run_checks("deals").get_asset_check_evaluations() if one.check_name == "unchanged"]
    assert unchanged.passed
    assert str(unchanged.description).startswith("Not compared: ")


def test_the_next_load_makes_the_table_right_and_says_so(
    sound: Warehouse, materialize: Materialize, run_checks: RunChecks
) -> None:
    sound.query("UPDATE crm.deals SET expected_value = expected_value * 100")
    assert failures(run_checks("deals")).keys() == {"deals.unchanged"}
    assert failures(materialize(["deals"])) == {}
    assert failures(run_checks("deals")) == {}


@pytest.mark.usefixtures("sound")
def test_a_defect_that_stays_is_an_error_and_a_change_is_told_once(materialize: Materialize, sandbox: Sandbox) -> None:
    repeat_an_id(sandbox)
    every_record(sandbox, "contacts", brandNew=1)
    first = failures(materialize(["companies", "contacts"]))
    assert {name: severity for name, (severity, _) in first.items()} == {
        "contacts.unique_id": "WARN",
        "contacts.drift": "WARN",
    }
    assert failures(materialize(["companies", "contacts"])) == {
        "contacts.unique_id": ("ERROR", first["contacts.unique_id"][1])
    }


def test_a_listing_that_is_empty_twice_was_emptied(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    for record in list(sandbox.crm.records("milestone"))[1:]:
        sandbox.crm.delete("milestone", record["id"])
    assert failures(materialize(["milestone"])) == {}
    sandbox.crm.delete("milestone", next(sandbox.crm.records("milestone"))["id"])
    assert failures(materialize(["milestone"])) == {
        "milestone.row_count": ("ERROR", "The last listing has 0 records; the one before had 1.")
    }
    assert warehouse.query("SELECT _missing_since IS NULL, _deleted_at IS NULL FROM crm.milestone") == [(False, True)]
    assert failures(materialize(["milestone"])) == {}
    assert warehouse.query("SELECT _deleted_at IS NULL FROM crm.milestone") == [(False,)]


@pytest.mark.usefixtures("sound")
def test_a_reference_is_judged_by_what_its_table_could_know(materialize: Materialize, sandbox: Sandbox) -> None:
    for record in list(sandbox.crm.records("deals")):
        sandbox.crm.update("deals", record["id"], contact_ids=["4711"], updated_time=int(time.time()))
    sandbox.crm.create("contacts", {"id": 4711, "type": "PERSON"})
    assert failures(materialize(["deals"])) == {}
    assert failures(materialize(["contacts", "deals"])) == {}
    sandbox.crm.delete("contacts", 4711)
    for record in list(sandbox.crm.records("deals")):
        sandbox.crm.update("deals", record["id"], contact_ids=["4712"], updated_time=int(time.time()))
    assert failures(materialize(["contacts", "deals"])).keys() == {"deals.references"}


def test_a_failed_check_shows_counts_sql_and_offenders(sound: Warehouse, run_checks: RunChecks) -> None:
    sound.query("UPDATE crm.deals SET probability = 101 WHERE id IN (SELECT id FROM crm.deals ORDER BY id LIMIT 12)")
    ranges = next(one for one in run_checks("deals").get_asset_check_evaluations() if one.check_name == "ranges")
    metadata: dict[str, Any] = {name: value.value for name, value in ranges.metadata.items()}
    assert metadata["broken"] == 12
    table = metadata["failed_rows"]
    assert [column.name for column in table.schema.columns] == ["condition", "id", "value"]
    assert len(table.records) == 10
    sql = metadata["sql"].removeprefix("```sql\n").removesuffix("\n```")
    assert sound.query(sql)[0][0] == SMALL["deals"]


def test_a_share_of_rejected_records_above_the_setting_is_an_error(
    materialize: Materialize, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.crm.replace("deals", 3, {"id": "abc"})
    assert failures(materialize(["deals"]))["deals.rejected"][0] == "WARN"
    monkeypatch.setenv("CHECKS__DEALS__REJECTED_SHARE", "0.001")
    assert failures(materialize(["deals"]))["deals.rejected"] == (
        "ERROR",
        "1 of 120 records rejected, see rejected_records: abc: id: 'abc' is not a whole number.",
    )


@pytest.mark.each_warehouse(thorough=True)
def test_a_share_of_values_of_other_types_above_the_setting_is_an_error_until_they_are_corrected(
    materialize: Materialize, run_checks: RunChecks, sandbox: Sandbox
) -> None:
    first, second, *_ = [record["id"] for record in sandbox.crm.records("deals")]
    every = {"probability": "high", "expected_value": {"EUR": 5}}
    sandbox.crm.update("deals", first, **every)
    sandbox.crm.update("deals", second, **every)
    result = materialize(["deals"])
    assert failures(result).keys() == {"deals.types"}
    severity, words = failures(result)["deals.types"]
    assert severity == "ERROR"
    assert "expected_value is json in 2 rows, see expected_value__v_json: ids " in words
    [types] = [one for one in result.get_asset_check_evaluations() if one.check_name == "types"]
    metadata: dict[str, Any] = {name: value.value for name, value in types.metadata.items()}
    assert (metadata["values"], metadata["rows"]) == (4, 2)
    assert {(row.data["column"], row.data["value"]) for row in metadata["failed_rows"].records} == {
        ("probability__v_text", "high"),
        ("expected_value__v_json", '{"EUR":5}'),
    }
    sandbox.crm.update("deals", first, probability=5, expected_value=5)
    sandbox.crm.delete("deals", second)
    for _ in range(2):
        result = materialize(["deals"])
    assert failures(result) == {}
    assert failures(run_checks("deals")) == {}


def test_a_table_that_is_not_there_yet_says_so(run_checks: RunChecks) -> None:
    assert failures(run_checks("deals")) == {
        "deals.schema": ("ERROR", "There is no table deals. Materialize crm/deals.")
    }


def test_a_table_that_was_dropped_is_an_error_of_its_schema(sound: Warehouse, run_checks: RunChecks) -> None:
    sound.query("DROP TABLE crm.deals")
    assert failures(run_checks("deals")).keys() == {"deals.schema"}


def test_checks_that_cannot_run_are_an_error_of_the_step_and_no_pass(sound: Warehouse, run_checks: RunChecks) -> None:
    sound.path.write_bytes(b"not a database any more" * 1000)
    result = run_checks("deals")
    assert not result.success
    assert "cannot be opened" in failure_of(result)
    assert not result.get_asset_check_evaluations()


def test_every_table_has_every_check_that_makes_sense_and_each_says_what_it_looks_for() -> None:
    assert {spec.asset_key.path[-1] for spec in check_specs(an_account())} == set(MODELS)
    assert [name for name in RESOURCES if "references" in checks_of(an_account(), RESOURCES[name])] == [
        "contacts",
        "deals",
        "notes",
        "tasks",
        "tickets",
    ]
    assert all(check.__doc__ for check in CHECKS.values())
    assert len(check_specs(an_account())) == len(RESOURCES) * 10 + 5


@pytest.mark.parametrize(
    ("resource", "warn", "fail"),
    [("contacts", timedelta(minutes=30), timedelta(hours=1)), ("milestone", timedelta(days=2), timedelta(days=4))],
)
def test_a_table_has_the_freshness_policy_of_its_cadence(resource: str, warn: timedelta, fail: timedelta) -> None:
    policy = defs.resolve_asset_graph().get(asset_key(an_account(), resource)).freshness_policy
    assert policy == dg.FreshnessPolicy.time_window(warn_window=warn, fail_window=fail)


class _Recorded(TableProbe):
    """A probe that remembers its queries."""

    def __init__(self, client: SqlClientBase[Any]) -> None:
        super().__init__(client, {}, {})
        self.queries: list[str] = []

    def _query(self, sql: str) -> Sequence[Sequence[Any]]:
        self.queries.append(sql)
        return super()._query(sql)


@pytest.mark.usefixtures("sound")
def test_a_table_of_many_rows_is_looked_at_in_a_few_queries(tmp_path: Path) -> None:
    with open_warehouse(an_account(), tmp_path, print) as opened:
        probe = _Recorded(opened.sql)
        assert probe.measure(RESOURCES["deals"]).rows == SMALL["deals"]
    assert len([sql for sql in probe.queries if "information_schema" not in sql]) == 1
