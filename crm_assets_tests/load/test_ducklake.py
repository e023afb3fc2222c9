"""DuckLake, with its catalog in Postgres: its extension is there for DuckDB 1.5, which gets an environment here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crm_assets.project import ROOT
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, environment
from crm_assets_tests.postgres import the_postgres

pytestmark = [pytest.mark.long, pytest.mark.thorough]
DUCKDB = "1.5.5"
NAMES = ("duckdb", "duckdb-extensions", "duckdb-extension-ducklake", "duckdb-extension-postgres-scanner")
IMPORTED = "import duckdb_extensions as d; d.import_extension('ducklake'); d.import_extension('postgres_scanner')"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with DuckDB 1.5 and its extensions."""
    folder = tmp_path / "packages"
    uv, wanted = str(Path(sys.executable).parent / "uv"), [f"{name}=={DUCKDB}" for name in NAMES]
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *wanted]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        problem = f"DuckDB {DUCKDB} and its DuckLake cannot be installed: {done.stderr.splitlines()[-1:]}"
        if os.environ.get("TESTS_NEED_EVERYTHING") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    return folder


def test_tables_go_to_a_ducklake_and_deletes_are_flagged(packages: Path, tmp_path: Path) -> None:
    catalog = the_postgres().database(password="secret").replace("postgresql://", "postgres://")
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as crm:
        env = environment(
            PYTHONPATH=str(packages),
            HOME=str(tmp_path),
            DAGSTER_HOME=str(tmp_path),
            DLT_PROJECT_DIR=str(ROOT),
            DLT_LOCAL_DIR=str(tmp_path),
            WAREHOUSE__DESTINATION="ducklake",
            DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG=catalog,
            DESTINATION__DUCKLAKE__CREDENTIALS__STORAGE__BUCKET_URL=str(tmp_path / "files"),
            SOURCES__CRM__BASE_URL=crm.base_url,
            SOURCES__CRM__EMAIL=EMAIL,
            SOURCES__CRM__API_KEY=API_KEY,
        )
        subprocess.run([sys.executable, "-c", IMPORTED], env=env, check=True)
        first = synced(env)
        assert {one["resource"]: one["rows"] for one in first["loaded"]} == SMALL
        crm.crm.delete("notes", next(iter(crm.crm.records("notes")))["id"])
        again = synced(env)
        assert {one["resource"]: one["deleted"] for one in again["loaded"] if one["deleted"]} == {"notes": 1}
        assert not [one for one in again["checks"] if one["outcome"] == "ERROR" and one["name"] != "complete"]


def synced(env: dict[str, str]) -> dict[str, Any]:
    """Return what `crm-assets sync` says of the only account."""
    main = "from crm_assets.cli.main import main; main()"
    command = [sys.executable, "-c", main, "sync", "--json"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    [account] = json.loads(done.stdout)["accounts"]
    assert account["problem"] is None, account["problem"]
    found: dict[str, Any] = account
    return found
