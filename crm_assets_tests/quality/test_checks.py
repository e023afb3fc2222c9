"""Each defect fails exactly the check that is named for it, and the check says where to look."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest

from crm_assets.definitions import defs
from crm_assets.models import MODELS
from crm_assets.orchestration import build_defs
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.keys import asset_key
from crm_assets.quality.checks import CHECKS, checks_of
from crm_assets.quality.table_probe import TableProbe
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, RESOURCES, SMALL, Materialize, Warehouse, an_account, failure_of

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
        "brandNew is not",
    ),
    (
        "a null id",
        lambda crm: crm.crm.replace("deals", 3, {"id": None}),
        "deals.rejected",
        "WARN",
        "no id: id is missing",
    ),
    ("an id twice", repeat_an_id, "contacts.unique_id", "ERROR", "more than once: 981"),
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
    loaded = [resource, REFERS_TO[resource]]
    assert failures(materialize(loaded)) == {}
    plant(sandbox)
    found = failures(materialize(loaded))
    assert found.keys() == {check}
    assert found[check][0] == severity
    assert words in found[check][1]


TAMPERED = [
    ("ALTER TABLE crm.deals DROP COLUMN milestone", {"deals.schema": ("ERROR", "milestone is missing")}),
    (
        "ALTER TABLE crm.deals ALTER probability TYPE VARCHAR",
        {"deals.schema": ("ERROR", "probability is VARCHAR, not bigint")},
    ),
    (
        "ALTER TABLE crm.deals ALTER id DROP NOT NULL;"
        " UPDATE crm.deals SET id = NULL WHERE id = (SELECT min(id) FROM crm.deals)",
        {"deals.nulls": ("ERROR", "id is NULL in 1 row")},
    ),
    (
        "INSERT INTO crm.deals SELECT * REPLACE ('by hand' AS _dlt_load_id) FROM crm.deals LIMIT 2",
        {"deals.unique_id": ("ERROR", "2 rows repeat an id")},
    ),
    (
        "DELETE FROM crm.deals USING (SELECT id FROM crm.deals LIMIT 10) d WHERE crm.deals.id = d.id",
        {"deals.complete": ("ERROR", "wrote 120 rows; 110 of them")},
    ),
    (
        "DELETE FROM crm.deals",
        {
            "deals.complete": ("ERROR", "wrote 120 rows; 0 of them"),
            "deals.row_count": ("ERROR", "The table is empty; it had 120 rows"),
        },
    ),
    ("UPDATE crm.deals SET expected_value = -1", {"deals.ranges": ("WARN", "expected_value is below 0 in 120 rows")}),
]


@pytest.mark.parametrize(("sql", "wanted"), TAMPERED, ids=[one[0][:40] for one in TAMPERED])
def test_a_warehouse_that_was_tampered_with_is_found_by_the_checks_alone(
    materialize: Materialize,
    run_checks: RunChecks,
    warehouse: Warehouse,
    sandbox: Sandbox,
    sql: str,
    wanted: dict[str, tuple[str, str]],
) -> None:
    assert materialize(["contacts", "deals"]).success
    asked = sum(sandbox.requests.values())
    warehouse.query(sql)
    result = run_checks("deals")
    assert result.success
    found = failures(result)
    assert {name: severity for name, (severity, _) in found.items()} == {name: one[0] for name, one in wanted.items()}
    for name, (_, words) in wanted.items():
        assert words in found[name][1]
    assert sum(sandbox.requests.values()) == asked
    assert not result.get_asset_materialization_events()


def test_a_failed_check_shows_counts_sql_and_offenders(
    materialize: Materialize, run_checks: RunChecks, warehouse: Warehouse
) -> None:
    assert materialize(["deals"]).success
    warehouse.query(
        "UPDATE crm.deals SET probability = 101 WHERE id IN (SELECT id FROM crm.deals ORDER BY id LIMIT 12)"
    )
    ranges = next(one for one in run_checks("deals").get_asset_check_evaluations() if one.check_name == "ranges")
    metadata: dict[str, Any] = {name: value.value for name, value in ranges.metadata.items()}
    assert metadata["broken"] == 12
    lines = metadata["failed_rows"].splitlines()
    assert lines[0] == "| condition | id | value |"
    assert len(lines) == 2 + 10
    sql = metadata["sql"].removeprefix("```sql\n").removesuffix("\n```")
    assert warehouse.query(sql)[0][0] == SMALL["deals"]


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


def test_a_table_that_is_not_there_yet_says_so(run_checks: RunChecks) -> None:
    found = failures(run_checks("deals"))
    assert found.keys() == {f"deals.{name}" for name in checks_of(RESOURCES["deals"])}
    assert set(found.values()) == {("WARN", "There is no table deals yet: materialize crm/deals.")}


def test_a_table_that_was_dropped_is_an_error_of_its_schema(
    materialize: Materialize, run_checks: RunChecks, warehouse: Warehouse
) -> None:
    assert materialize(["deals"]).success
    warehouse.query("DROP TABLE crm.deals")
    severity, words = failures(run_checks("deals"))["deals.schema"]
    assert severity == "ERROR"
    assert "id is missing" in words


def test_checks_that_cannot_run_are_an_error_of_the_step_and_no_pass(
    materialize: Materialize, run_checks: RunChecks, warehouse: Warehouse
) -> None:
    assert materialize(["deals"]).success
    warehouse.path.write_bytes(b"not a database any more" * 1000)
    result = run_checks("deals")
    assert not result.success
    assert "cannot be opened" in failure_of(result)
    assert not result.get_asset_check_evaluations()


def test_every_table_has_every_check_that_makes_sense_and_each_says_what_it_looks_for() -> None:
    assert {spec.asset_key.path[-1] for spec in check_specs(an_account())} == set(MODELS)
    assert [name for name in MODELS if "references" in checks_of(RESOURCES[name])] == [
        "contacts",
        "deals",
        "notes",
        "tasks",
        "tickets",
    ]
    assert all(check.__doc__ for check in CHECKS.values())
    assert len(check_specs(an_account())) == 11 * 8 + 5


@pytest.mark.parametrize(
    ("resource", "warn", "fail"),
    [("contacts", timedelta(minutes=30), timedelta(hours=1)), ("milestone", timedelta(days=2), timedelta(days=4))],
)
def test_a_table_has_the_freshness_policy_of_its_cadence(resource: str, warn: timedelta, fail: timedelta) -> None:
    policy = defs.resolve_asset_graph().get(asset_key(an_account(), resource)).freshness_policy
    assert policy == dg.FreshnessPolicy.time_window(warn_window=warn, fail_window=fail)


def test_a_table_of_many_rows_is_looked_at_in_a_few_queries(materialize: Materialize, warehouse: Warehouse) -> None:
    assert materialize(["deals"]).success
    asked: list[str] = []

    with duckdb.connect(str(warehouse.path)) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            asked.append(sql)
            return connection.execute(sql).fetchall()

        TableProbe(query, lambda name: f'"{name}"', "crm").measure(RESOURCES["deals"], None)
    assert len([sql for sql in asked if "information_schema" not in sql]) == 1
