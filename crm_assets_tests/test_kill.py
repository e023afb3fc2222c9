"""A run that is killed at any moment needs no help from a person."""

import os
import signal
import subprocess
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Materialize
from crm_assets_tests.test_cli import COMMAND, Run, crm_assets, settings  # noqa: F401 - fixtures

LOADED = ("contacts", "deals", "notes")


def kill_when_it_appears(process: "subprocess.Popen[bytes]", pattern: str, directory: Path) -> None:
    """Kill `process` as soon as a file matches `pattern`; the file system has no event to wait for here."""
    while process.poll() is None:
        if next(directory.glob(pattern), None):
            os.kill(process.pid, signal.SIGKILL)
            return


@pytest.mark.parametrize(
    "moment",
    [
        "data/runs/*/deals.rows.*",
        "data/runs/*/dlt/crm/load/normalized/*/started_jobs/*contacts*",
        "data/runs/*/dlt/crm/load/loaded/*",
    ],
)
def test_after_a_kill_the_next_run_ends_with_the_right_tables(
    materialize: Materialize,
    crm_assets: Run,  # noqa: F811
    settings: dict[str, str],  # noqa: F811
    sandbox: Sandbox,
    tmp_path: Path,
    moment: str,
) -> None:
    assert materialize(LOADED).success
    first = next(iter(sandbox.crm.records("deals")))
    sandbox.crm.update("deals", first["id"], name="Changed before the kill")
    sandbox.crm.create("notes", {"id": 4713})
    with subprocess.Popen([COMMAND, "sync", *LOADED], env=settings, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        kill_when_it_appears(process, moment, tmp_path)
    assert process.returncode == -signal.SIGKILL
    done = crm_assets("sync", *LOADED)
    assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb")) as warehouse:
        for resource in LOADED:
            count = SMALL[resource] + (resource == "notes")
            rows = warehouse.execute(f"SELECT count(*), count(DISTINCT id) FROM crm.{resource}").fetchall()
            assert rows == [(count, count)]
        renamed = warehouse.execute(f"SELECT name FROM crm.deals WHERE id = {int(first['id'])}").fetchall()
        assert renamed == [("Changed before the kill",)]
    assert not list((tmp_path / "data" / "runs").iterdir())
    with dg.DagsterInstance.from_config(settings["DAGSTER_HOME"]) as history:
        statuses = sorted(run.status.value for run in history.get_runs())
    assert statuses == ["FAILURE", "SUCCESS"]
