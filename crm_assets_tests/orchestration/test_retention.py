"""Old runs leave Dagster's history, and what is known of the tables stays."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from crm_assets.orchestration.run_history import last_loads
from crm_assets.orchestration.sensors.retention import delete_old_runs
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Materialize, an_account
from crm_assets_tests.orchestration.test_sensors import skipped, tick


def runs(instance: dg.DagsterInstance) -> int:
    return instance.get_runs_count()


def test_the_last_runs_of_a_job_stay_and_so_does_the_last_load_of_each_table(
    materialize: Materialize, instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(["tasks"])
    for _ in range(4):
        materialize(["notes"])
    monkeypatch.setenv("AUTOMATION__KEEP_RUNS", "2")
    assert skipped(tick("retention", instance)) == "2 runs deleted."
    assert runs(instance) == 3
    assert {name: load.ending for name, load in last_loads(instance, an_account()).items()} == {
        "tasks": "landed",
        "notes": "landed",
    }
    assert skipped(tick("retention", instance)) == "0 runs deleted."
    sandbox.fault(Fault("notes", "status", retry_after="9999"))
    for _ in range(3):
        materialize(["notes"])
    tick("retention", instance)
    assert last_loads(instance, an_account())["notes"].ending == "failed"
    assert instance.get_latest_materialization_event(dg.AssetKey(["crm", "notes"])) is not None


def test_runs_of_long_ago_go_but_those_of_others_stay(materialize: Materialize, instance: dg.DagsterInstance) -> None:
    materialize(["notes"])
    materialize(["notes"])
    instance.create_run_for_job(somebody_elses)
    before = runs(instance)
    assert delete_old_runs(instance, an_account(), datetime.now(UTC)) == 0
    later = datetime.now(UTC) + timedelta(days=31)
    assert delete_old_runs(instance, an_account(), later) == 1
    assert runs(instance) == before - 1


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def somebody_elses() -> None:
    nothing()
