"""The history of runs on disk."""

from pathlib import Path
from queue import SimpleQueue
from shutil import copy
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from crm_assets.orchestration import run
from crm_assets.orchestration.run_history import last_loads
from crm_assets.project import DAGSTER_HOME
from crm_assets_tests.conftest import Command, an_account


def test_a_sync_opens_the_event_log_a_few_times_and_not_for_each_event(
    crm_assets: Command, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(connection: Any, _: Any) -> None:
        files = connection.execute("PRAGMA database_list").fetchall()
        opened.extend(str(file[2]) for file in files)

    event.listen(Pool, "connect", note)
    try:
        assert crm_assets("sync", "milestone").returncode == 0
    finally:
        event.remove(Pool, "connect", note)
    # Each of the events would open three.
    assert 0 < len([file for file in opened if "/history/runs/" in file]) < 40
    monkeypatch.setenv("DAGSTER_HOME", settings["DAGSTER_HOME"])
    with run.instance() as history:
        assert last_loads(history, an_account())["milestone"].ending == "landed"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME as the project has it."""
    copy(DAGSTER_HOME / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@dg.asset
def one() -> None:
    """An asset without anything to do."""


@pytest.mark.usefixtures("home")
def test_who_watches_a_run_sees_each_event_when_it_is_stored() -> None:
    seen: SimpleQueue[dg.EventLogEntry] = SimpleQueue()
    with dg.DagsterInstance.get() as writer, dg.DagsterInstance.get() as ui:
        done = dg.materialize([one], instance=writer)
        ui.watch_event_logs(done.run_id, None, lambda entry, _: seen.put(entry))
        writer.report_engine_event("to be seen", done.dagster_run)
        while (entry := seen.get(timeout=30)).message != "to be seen":
            assert entry.run_id == done.run_id


@pytest.mark.usefixtures("home")
def test_more_runs_than_files_stay_open_are_all_there_and_gone_when_the_history_is_wiped() -> None:
    with dg.DagsterInstance.get() as instance:
        runs = [dg.materialize([one], instance=instance).run_id for _ in range(18)]
        first = len(instance.all_logs(runs[0]))
        assert first > 1
        assert [len(instance.all_logs(run_id)) for run_id in runs] == [first] * len(runs)
        instance.wipe()
        assert not instance.all_logs(runs[-1])
        again = dg.materialize([one], instance=instance).run_id
        assert len(instance.all_logs(again)) == first


def test_what_dagsters_own_storage_has_written_is_read(home: Path) -> None:
    settings = home / "dagster.yaml"
    ours = settings.read_text()
    settings.write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.get() as before:
        run_id = dg.materialize([one], instance=before).run_id
        written = [entry.message for entry in before.all_logs(run_id)]
    settings.write_text(ours)
    with dg.DagsterInstance.get() as after:
        assert type(after.event_log_storage).__module__ == "crm_assets.orchestration.storage"
        assert [entry.message for entry in after.all_logs(run_id)] == written
        assert after.get_latest_materialization_event(dg.AssetKey("one"))
