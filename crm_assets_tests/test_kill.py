"""A run that is killed at any moment needs no help from a person."""

import json
import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.sandbox.api import API_NAMES, ApiName
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.campaign import Model, differences, live_rows
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, some
from crm_assets_tests.runner import Run
from crm_assets_tests.sandbox_apis import account_of
from crm_assets_tests.warehouses import a_warehouse

LOADED = ("contacts", "deals", "notes")
COUNTS: dict[ApiName, dict[str, int]] = {
    "v1": {**SMALL, "contacts": 1_200},
    "agilecrm": {**SMALL, "contacts": 600, "notes": 400},
}
LATENCY: dict[ApiName, float] = {"v1": 0.0, "agilecrm": 0.02}
"""Seconds for each response: the children of `agilecrm` take longer to be read than from one checkpoint to the next."""
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
MOMENTS_OF = {"postgres": {"load, the merge": "data/runs/*/dlt/crm/load/loaded/*"}}
"""The same where they are others: Postgres merges when dlt has done all that it does."""
CHILDREN = "children"
"""The moment in the middle of those listings that take one request for each parent."""
KIND = os.environ.get("CAMPAIGN_WAREHOUSE", "duckdb")
"""The warehouse of a campaign, as dlt calls it."""
SHORT = some(
    ("v1", "postgres", "load, the merge"),
    ("agilecrm", "duckdb", CHILDREN),
    ("v1", "duckdb", "load, a file"),
    ("v1", "filesystem", "load, the merge"),
    always=2,
)
LONG = [*product(API_NAMES, [KIND], MOMENTS), ("agilecrm", KIND, CHILDREN)]


def killed_when_it_appears(run: Run, pattern: str, directory: Path) -> bool:
    """Kill `run` as soon as a file matches `pattern`; the file system has no event to wait for here."""
    return _killed_as_soon_as(run, lambda: next(directory.glob(pattern), None) is not None)


def killed_among_the_children(run: Run, sandbox: Sandbox, attempt: int) -> bool:
    """Kill `run` when it has asked for the notes of so many contacts and deals, other ones at each attempt."""
    parents = sum(sandbox.crm.count(parent) for parent in ("contacts", "deals"))
    enough = sandbox.requests["notes"] + int(parents * (0.5 + 0.49 * (attempt * 7 % 30) / 30))
    return _killed_as_soon_as(run, lambda: sandbox.requests["notes"] >= enough)


def _killed_as_soon_as(run: Run, is_time: Callable[[], bool]) -> bool:
    while run.is_alive():
        if is_time():
            run.kill()
            return True
    return False


def resumable(directory: Path) -> set[str]:
    """Return the resources whose listings an ended run has left unfinished, to be resumed."""
    kept = directory.glob("data/unfinished/*/*/checkpoint.json")
    return {file.parent.parent.name.removeprefix("crm.") for file in kept}


def note_down(kill: dict[str, object]) -> None:
    """Append what came of a kill to the file that `CAMPAIGN_KILLED` names, if it names one."""
    if file := os.environ.get("CAMPAIGN_KILLED"):
        with Path(file).open("a", encoding="utf-8") as kills:
            kills.write(f"{json.dumps(kill)}\n")


@pytest.mark.parametrize("attempt", range(TIMES or 1))
@pytest.mark.parametrize(("api", "kind", "moment"), LONG if TIMES else SHORT)
def test_after_a_kill_each_table_is_as_before_or_as_listed_and_the_next_run_puts_it_right(
    tmp_path: Path, api: ApiName, kind: str, moment: str, attempt: int
) -> None:
    home, warehouse = tmp_path / "home", a_warehouse(kind, tmp_path)
    home.mkdir()
    with Sandbox(COUNTS[api], email=EMAIL, api_key=API_KEY, latency=LATENCY[api], api=api) as sandbox:
        model = Model(api, sandbox, LOADED)
        environment = {
            **warehouse.environment,
            "DLT_LOCAL_DIR": str(tmp_path),
            "SOURCES__CRM__BASE_URL": sandbox.base_url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
            "SYNC__MODE": "full",  # what only asks for what is new finds no deletes
        }

        def started() -> Run:
            return Run(home, environment, LOADED, partial(account_of, api))

        assert started().outcome().success
        contact = next(sandbox.crm.records("contacts"))
        sandbox.crm.update("contacts", contact["id"], star_value=(contact["star_value"] or 0) + 1)
        deals = list(sandbox.crm.records("deals"))
        sandbox.crm.update("deals", deals[attempt]["id"], name="Changed before the kill")
        sandbox.crm.delete("deals", deals[-1]["id"])
        sandbox.crm.create("notes", {"id": 4713})
        for resource in LOADED:
            model.changed(resource)
        if moment == CHILDREN:
            assert killed_among_the_children(started(), sandbox, attempt)
        else:
            assert killed_when_it_appears(started(), MOMENTS_OF.get(kind, {}).get(moment, MOMENTS[moment]), tmp_path)
        for resource in LOADED:
            left = live_rows(api, warehouse, resource)
            assert left is not None
            assert not differences(api, resource, left, model.landed(resource, 0))
        unfinished = resumable(tmp_path)
        done = started().outcome()
        assert done.success, done.problem
        assert {resource for resource, resumed in done.landed.items() if resumed} == unfinished
        note_down({"api": api, "warehouse": kind, "moment": moment, "attempt": attempt, "records_resumed": done.landed})
        for resource in LOADED:
            right = live_rows(api, warehouse, resource)
            assert right is not None
            assert not differences(api, resource, right, [model.landed(resource, 0)[-1]])
    for leftover in ("runs", "unfinished"):
        assert not list((tmp_path / "data" / leftover).glob("*"))
    with dg.DagsterInstance.local_temp(str(home)) as history:
        statuses = [run.status.value for run in history.get_runs()]
    assert statuses == ["SUCCESS", "STARTED", "SUCCESS"]
