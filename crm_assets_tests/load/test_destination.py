"""A destination by its name: its file, its lock, its driver."""

import subprocess
import sys
from pathlib import Path

import dlt
import pytest

from crm_assets.errors import SettingError, WarehouseLocked
from crm_assets.load.warehouses.destination import duckdb_path, exclusive, open_destination
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Command, Materialize, Warehouse, failure_of
from crm_assets_tests.load.test_duckdb import holder  # noqa: F401 - a fixture


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> str:
    """A DuckDB with a name of its own, as dlt's settings have it."""
    monkeypatch.setenv("DESTINATION__ACME_DB__DESTINATION_TYPE", "duckdb")
    return "acme_db"


def test_a_duckdb_without_credentials_has_a_file_of_its_name(named: str, tmp_path: Path) -> None:
    assert duckdb_path(open_destination(named, tmp_path / "data")) == tmp_path / "data" / "acme_db.duckdb"


@pytest.mark.parametrize(
    "variable", ["DESTINATION__ACME_DB__CREDENTIALS", "DESTINATION__ACME_DB__CREDENTIALS__DATABASE"]
)
def test_credentials_go_before_the_file_of_its_name(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "mine.duckdb"))
    assert duckdb_path(open_destination(named, tmp_path / "data")) == tmp_path / "mine.duckdb"


def test_the_path_in_config_toml_counts_although_dlt_wants_it_in_secrets_toml(tmp_path: Path) -> None:
    assert dlt.config.get("destination.duckdb.credentials") == "data/warehouse.duckdb"
    assert duckdb_path(open_destination("duckdb", tmp_path / "data")) == tmp_path / "data" / "warehouse.duckdb"
    assert duckdb_path(open_destination("dlt.destinations.duckdb", tmp_path / "data")) == (
        tmp_path / "data" / "warehouse.duckdb"
    )


@pytest.mark.usefixtures("holder")
def test_a_named_duckdb_is_locked_like_any_other(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__ACME_DB__CREDENTIALS", str(tmp_path / "w.duckdb"))
    with (
        pytest.raises(WarehouseLocked, match=r"w\.duckdb was kept open by process"),
        exclusive(open_destination(named, tmp_path), memory_limit="1GB", lock_timeout=0, log=print),
    ):
        pass


def test_a_run_into_a_named_duckdb_has_its_memory_limit(
    named: str, materialize: Materialize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE__DESTINATION", named)
    assert materialize(["notes"]).success
    assert Warehouse(tmp_path / "data" / "acme_db.duckdb").tables()["notes"] == 20
    monkeypatch.setenv("WAREHOUSE__MEMORY_LIMIT", "1MB")
    assert "warehouse.memory_limit" in failure_of(materialize(["notes"]))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("snowflake", "crm_assets[snowflake]"),
        ("bigquery", "crm_assets[bigquery]"),
        ("mssql", "dlt[mssql]"),
        ("databricks", "crm_assets[databricks]"),
        ("clickhouse", "crm_assets[clickhouse]"),
        ("athena", "dlt[athena]"),
    ],
)
def test_a_driver_that_is_missing_is_one_line_with_the_extra_that_brings_it(
    tmp_path: Path, name: str, extra: str
) -> None:
    with pytest.raises(SettingError) as caught:
        open_destination(name, tmp_path)
    said = str(caught.value)
    assert said.startswith(
        f"warehouse.destination (WAREHOUSE__DESTINATION) is '{name}', and its driver is not installed: "
    )
    assert said.endswith(f'Install it: pip install "{extra}"')
    assert "\n" not in said


def test_a_missing_driver_is_said_before_the_crm_is_asked(settings: dict[str, str], sandbox: Sandbox) -> None:
    without = "import sys; sys.modules['psycopg2'] = None; from crm_assets.cli.main import main; main()"
    command = [sys.executable, "-c", without, "sync", "deals"]
    env = settings | {"WAREHOUSE__DESTINATION": "postgres"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "crm_assets[postgres]"' in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not sandbox.requests


def test_a_warehouse_that_loads_from_a_bucket_alone_needs_one_and_another_takes_none(
    crm_assets: Command, sandbox: Sandbox
) -> None:
    login = {
        f"DESTINATION__REDSHIFT__CREDENTIALS__{name}": "x" for name in ("HOST", "DATABASE", "USERNAME", "PASSWORD")
    }
    for changes, said in (
        ({"WAREHOUSE__DESTINATION": "redshift", **login}, "WAREHOUSE__STAGING in the environment"),
        (
            {"WAREHOUSE__STAGING": "filesystem"},
            "warehouse.staging (WAREHOUSE__STAGING) is 'filesystem', and duckdb loads",
        ),
    ):
        done = crm_assets("sync", "deals", **changes)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
    assert not sandbox.requests


def test_a_named_destination_of_an_unknown_type_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__ACME_DB__DESTINATION_TYPE", "duckbd")
    with pytest.raises(SettingError, match="dlt knows no destination 'acme_db' of the type 'duckbd'"):
        open_destination("acme_db", tmp_path)


def test_a_destination_whose_login_is_not_set_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"is 'motherduck', and cannot be used: .* not set under") as caught:
        open_destination("motherduck", tmp_path)
    assert "\n" not in str(caught.value)
