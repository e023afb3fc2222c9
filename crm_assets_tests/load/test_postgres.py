"""What Postgres does otherwise than DuckDB: locks, rights, one transaction, and what its texts cannot hold."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from crm_assets.errors import TableLocked
from crm_assets.load.table_locks import table_locks
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, Materialize, an_account, failure_of
from crm_assets_tests.deployment import eventually
from crm_assets_tests.postgres import PostgresServer, the_postgres
from crm_assets_tests.quality.test_checks import failures
from crm_assets_tests.runner import Run
from crm_assets_tests.warehouses import PostgresDatabase

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"


@pytest.fixture
def postgres() -> PostgresServer:
    """The server of this process."""
    return the_postgres()


@pytest.fixture
def warehouse(
    postgres: PostgresServer, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> PostgresDatabase:
    """A database of this test, and settings that point the project at it and at the sandbox."""
    made = PostgresDatabase(postgres.database())
    login = {"SOURCES__CRM__BASE_URL": sandbox.base_url, "SOURCES__CRM__EMAIL": EMAIL}
    paths = {"SOURCES__CRM__API_KEY": API_KEY, "DLT_LOCAL_DIR": str(tmp_path)}
    for name, value in {**login, **paths, **made.environment}.items():
        monkeypatch.setenv(name, value)
    return made


def host(directory: Path, name: str, environment: dict[str, str]) -> Run:
    """Return a run of deals on a host that has nothing in common with others: no folder, no history, no name."""
    home = directory / name / "home"
    home.mkdir(parents=True)
    own = {"DLT_LOCAL_DIR": str(home.parent), "DAGSTER_HOME": str(home), "HOSTNAME": name}
    return Run(home, {**environment, **own}, ["deals"])


def settings_of(warehouse: PostgresDatabase, sandbox: Sandbox) -> dict[str, str]:
    """Return the settings of a host."""
    return {
        **warehouse.environment,
        "SOURCES__CRM__BASE_URL": sandbox.base_url,
        "SOURCES__CRM__EMAIL": EMAIL,
        "SOURCES__CRM__API_KEY": API_KEY,
    }


def test_two_hosts_that_load_one_table_take_turns(
    warehouse: PostgresDatabase, sandbox: Sandbox, tmp_path: Path
) -> None:
    hanging = sandbox.fault(Fault("deals", "hang", after=1, times=1))
    first = host(tmp_path, "one", settings_of(warehouse, sandbox))
    eventually(lambda: sandbox.requests["deals"] == 2)
    second = host(tmp_path, "two", settings_of(warehouse, sandbox))
    eventually(lambda: warehouse.query(WAITS) == [(1,)])
    assert sandbox.requests["deals"] == 2
    hanging.release.set()
    assert first.outcome().success
    assert second.outcome().success
    assert warehouse.tables()["deals"] == SMALL["deals"]
    loads = warehouse.query("SELECT rows_after FROM crm.resource_loads WHERE resource = 'deals' ORDER BY loaded_at")
    assert loads == [(SMALL["deals"],)] * 2


def locked(directory: Path, *tables: str, timeout: float, said: list[str] | None = None) -> Any:
    """Return the locks of `tables` as a run on a host with the folder `directory` takes them."""
    account = an_account(data_dir=directory)
    warehouse = account.warehouse.model_copy(update={"lock_timeout": timeout})
    told = said.append if said is not None else print
    return table_locks(replace(account, warehouse=warehouse), account.select(list(tables)), told)


@pytest.mark.usefixtures("warehouse")
def test_a_table_that_another_host_loads_is_refused_after_the_timeout_and_the_holder_is_named(tmp_path: Path) -> None:
    with locked(tmp_path / "one", "deals", "notes", timeout=0):
        with locked(tmp_path / "two", "contacts", timeout=0):
            pass
        said: list[str] = []
        with (
            pytest.raises(TableLocked, match=r"crm\.deals was being loaded by process \d+ on \S+ for 1 s"),
            locked(tmp_path / "two", "contacts", "deals", timeout=1, said=said),
        ):
            pass
        assert len(said) == 1
        assert "crm.deals: it is being loaded by process" in said[0]
    with locked(tmp_path / "two", "deals", timeout=0):
        pass


def test_a_run_whose_locks_were_lost_loads_nothing(
    warehouse: PostgresDatabase, sandbox: Sandbox, tmp_path: Path, postgres: PostgresServer
) -> None:
    hanging = sandbox.fault(Fault("deals", "hang", after=1, times=1))
    run = host(tmp_path, "one", settings_of(warehouse, sandbox) | {"WAREHOUSE__LOCK_TIMEOUT": "5"})
    eventually(lambda: sandbox.requests["deals"] == 2)
    sandbox.fault(Fault("deals", "status", status=503))  # what tries again gets nothing
    postgres.execute(END_OTHERS.format(role=urlsplit(warehouse.address).username))
    hanging.release.set()
    outcome = run.outcome()
    assert not outcome.success
    assert warehouse.tables() == {}


def test_another_run_into_the_dataset_is_waited_for(
    warehouse: PostgresDatabase, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE__LOCK_TIMEOUT", "0")
    with closing(psycopg2.connect(warehouse.address, application_name="process 1 on elsewhere")) as other:
        other.cursor().execute("SELECT pg_advisory_lock(hashtextextended('crm_assets dataset crm', 0))")
        result = materialize(["notes"])
    assert failure_of(result).startswith("The dataset crm was being loaded by process 1 on elsewhere for 0 s")
    assert warehouse.tables() == {}
    assert materialize(["notes"]).success


def refuse(warehouse: PostgresDatabase, resource: str) -> None:
    """Let the database refuse the last statement of each load of `resource`, which completes its record."""
    warehouse.query(
        "CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON crm.resource_loads FOR EACH ROW"
        f" WHEN (NEW.resource LIKE '{resource}' AND NEW.rows_after IS NOT NULL) EXECUTE FUNCTION crm.refuse()"
    )


@pytest.mark.parametrize(("refused", "changed"), [("%", ()), ("notes", ("deals",))], ids=["all", "one"])
def test_a_table_changes_whole_or_not_at_all_and_stops_no_other(
    warehouse: PostgresDatabase, materialize: Materialize, sandbox: Sandbox, refused: str, changed: Sequence[str]
) -> None:
    def tables() -> dict[str, list[str]]:
        return {table: sorted(map(str, warehouse.rows(table))) for table in ("deals", "notes")}

    assert materialize(["deals", "notes"]).success
    before, loads = tables(), "SELECT count(*) FROM crm._dlt_loads"
    known = warehouse.query(loads)[0][0]
    refuse(warehouse, refused)
    for resource in ("deals", "notes"):
        records = list(sandbox.crm.records(resource))
        sandbox.crm.update(resource, records[0]["id"], created_time=1_700_000_000)
        sandbox.crm.delete(resource, records[-1]["id"])
    said = failure_of(materialize(["deals", "notes"]))
    assert "refused" in said
    assert said.startswith("notes did not load. The table deals is loaded." if changed else "Loading into crm failed")
    assert {name for name, rows in tables().items() if rows != before[name]} == {*changed}
    assert warehouse.query(loads) == [(known + len(changed),)]
    warehouse.query("DROP TRIGGER refuse ON crm.resource_loads")
    assert materialize(["deals", "notes"]).success
    assert warehouse.query("SELECT count(*) FROM crm.deals WHERE _missing_since IS NOT NULL") == [(1,)]


LEAST_RIGHTS = """
CREATE ROLE {role} LOGIN;
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role};
CREATE SCHEMA crm AUTHORIZATION {role};
CREATE SCHEMA crm_staging AUTHORIZATION {role};
"""


def test_a_role_with_the_least_rights_suffices(
    warehouse: PostgresDatabase,
    postgres: PostgresServer,
    materialize: Materialize,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = urlsplit(warehouse.address).path[1:]
    role = f"{database}_loader"
    postgres.execute(LEAST_RIGHTS.format(role=role, database=database), f"{postgres.address[:-8]}{database}")
    address = urlsplit(warehouse.address)
    least = address._replace(netloc=f"{role}:secret@{address.hostname}:{address.port}").geturl()
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", least)
    monkeypatch.setenv("SYNC__HISTORY", "true")
    assert failures(materialize(["deals", "notes"])) == {}
    sandbox.crm.delete("notes", next(iter(sandbox.crm.records("notes")))["id"])
    assert materialize(["deals", "notes"]).success
    assert PostgresDatabase(least).query("SELECT count(*) FROM crm.notes WHERE _deleted_at IS NOT NULL") == [(1,)]


def test_a_text_with_nul_keeps_all_that_postgres_can_hold(
    warehouse: PostgresDatabase, materialize: Materialize, sandbox: Sandbox
) -> None:
    record = next(iter(sandbox.crm.records("deals")))
    sandbox.crm.update("deals", record["id"], name="a\x00b", custom_data=[{"name": "c\x00d"}])
    assert materialize(["deals"]).success
    [row] = warehouse.rows("deals", where=f"id = {record['id']}")
    assert row["name"] == "a\ufffdb"
    assert row["custom_data"] == [{"name": "c\x00d"}]


def test_a_name_that_is_too_long_for_postgres_has_one_column_for_good(
    warehouse: PostgresDatabase, materialize: Materialize, sandbox: Sandbox
) -> None:
    record = next(iter(sandbox.crm.records("deals")))
    names = [f"{'a_very_long_name_' * 5}{number}" for number in range(2)]
    sandbox.crm.update("deals", record["id"], **{name: place for place, name in enumerate(names)})
    for _ in range(2):
        result = materialize(["deals"])
        assert result.success, failure_of(result)
        [row] = warehouse.rows("deals", where=f"id = {record['id']}")
        assert sorted(value for name, value in row.items() if name.startswith("a_very_long")) == [0, 1]


def test_a_setting_of_dlts_that_would_empty_what_is_to_be_merged_is_refused(
    warehouse: PostgresDatabase, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "true")
    assert "LOAD__TRUNCATE_STAGING_DATASET" in failure_of(materialize(["notes"]))
    assert warehouse.tables() == {}


def test_a_server_that_does_not_answer_is_said(
    warehouse: PostgresDatabase, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = urlsplit(warehouse.address)._replace(netloc="x:y@127.0.0.1:1").geturl()
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", nowhere)
    said = failure_of(materialize(["notes"]))
    assert said.startswith("Postgres cannot be connected to: ")
    assert "refused" in said
