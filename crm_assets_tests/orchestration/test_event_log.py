"""The history of runs on disk."""

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from crm_assets.orchestration import run
from crm_assets.orchestration.run_history import last_loads
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
    # Some forty, of which most are to see whether a table is there; each of the events would open three.
    assert 0 < len([file for file in opened if "/history/runs/" in file]) < 80
    monkeypatch.setenv("DAGSTER_HOME", settings["DAGSTER_HOME"])
    with run.instance() as history:
        assert last_loads(history, an_account())["milestone"].ending == "landed"
