"""A run that is killed at any moment needs no help from a person."""

import os
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.campaign import Model, differences, live_rows
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL
from crm_assets_tests.runner import Run

LOADED = ("contacts", "deals", "notes")
TIMES = int(os.environ.get("CAMPAIGN_KILLS", "0"))
"""How often each moment is tried in a campaign; without one, some moments once."""
MOMENTS = {
    "fetch": "data/runs/*.lock",
    "spool": "data/unfinished/crm.contacts/*/*rows*",
    "extract": "data/runs/*/dlt/crm/normalize/*/*/*",
    "normalize": "data/runs/*/dlt/crm/load/new/*/*",
    "load, a file": "data/runs/*/dlt/crm/load/normalized/*/started_jobs/*contacts*",
    "load, the merge": "data/runs/*/dlt/crm/load/normalized/*/completed_jobs/*sql",
    "checks": "data/runs/*/dlt/crm/load/loaded/*",
}
"""Files that appear when a run is as far as that."""


def killed_when_it_appears(run: Run, pattern: str, directory: Path) -> bool:
    """Kill `run` as soon as a file matches `pattern`; the file system has no event to wait for here."""
    while run.is_alive():
        if next(directory.glob(pattern), None):
            run.kill()
            return True
    return False


@pytest.mark.parametrize("moment", MOMENTS if TIMES else ["load, a file"])
@pytest.mark.parametrize("attempt", range(TIMES or 1))
def test_after_a_kill_each_table_is_as_before_or_as_listed_and_the_next_run_puts_it_right(
    tmp_path: Path, moment: str, attempt: int
) -> None:
    home, warehouse = tmp_path / "home", tmp_path / "data" / "warehouse.duckdb"
    home.mkdir()
    with Sandbox({**SMALL, "contacts": 1_200}, email=EMAIL, api_key=API_KEY) as sandbox:
        model = Model(sandbox, LOADED)
        environment = {
            "DLT_LOCAL_DIR": str(tmp_path),
            "DESTINATION__DUCKDB__CREDENTIALS": str(warehouse),
            "SOURCES__CRM__BASE_URL": sandbox.base_url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
        }
        assert Run(home, environment, LOADED).outcome().success
        deals = list(sandbox.crm.records("deals"))
        sandbox.crm.update("deals", deals[attempt]["id"], name="Changed before the kill")
        sandbox.crm.delete("deals", deals[-1]["id"])
        sandbox.crm.create("notes", {"id": 4713})
        for resource in LOADED:
            model.changed(resource)
        assert killed_when_it_appears(Run(home, environment, LOADED), MOMENTS[moment], tmp_path)
        for resource in LOADED:
            left = live_rows(warehouse, resource)
            assert left is not None
            assert not differences(left, model.landed(resource, 0))
        done = Run(home, environment, LOADED).outcome()
        assert done.success, done.problem
        for resource in LOADED:
            right = live_rows(warehouse, resource)
            assert right is not None
            assert not differences(right, [model.landed(resource, 0)[-1]])
    for leftover in ("runs", "unfinished"):
        assert not list((tmp_path / "data" / leftover).glob("*"))
    with dg.DagsterInstance.local_temp(str(home)) as history:
        statuses = [run.status.value for run in history.get_runs()]
    assert statuses == ["SUCCESS", "STARTED", "SUCCESS"]
