"""It runs itself: webserver, daemon, schedules and sensors, against a running sandbox."""

import os
import signal
from pathlib import Path

import duckdb
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL
from crm_assets_tests.deployment import deployed, eventually
from crm_assets_tests.webhook import webhook

pytestmark = pytest.mark.long


@pytest.fixture
def live(settings: dict[str, str]) -> dict[str, str]:
    """The environment of a deployment that looks often."""
    return settings | {"AUTOMATION__CHANGE_INTERVAL": "5"}


def names(path: Path, resource: str) -> dict[int, str]:
    with duckdb.connect(str(path / "data" / "warehouse.duckdb")) as warehouse:
        column = "name" if resource == "deals" else "subject"
        return dict(warehouse.execute(f"SELECT id, {column} FROM crm.{resource}").fetchall())


@pytest.mark.thorough
def test_a_change_arrives_by_itself_and_a_failing_check_is_told_once_and_once_when_it_is_mended(
    live: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    with webhook() as hook, deployed(live | {"ALERTS__WEBHOOK_URL": hook.url}, tmp_path) as deployment:
        for sensor in ("crm_changes", "crm_alerts"):
            deployment.switch_on(sensor)
        first = deployment.ended(set())
        assert first["status"] == "SUCCESS"
        assert deployment.materialized(first["runId"]) == set(SMALL)

        deal = next(iter(sandbox.crm.records("deals")))
        sandbox.crm.update("deals", deal["id"], name="Changed while nobody looked")
        sandbox.crm.create("notes", {"id": 4713, "subject": "New"})
        seen = {first["runId"]}
        changed = set[str]()
        while changed < {"deals", "notes"}:  # a look between the two changes requests a run for each
            run = deployment.ended(seen)
            changed |= deployment.materialized(run["runId"])
            seen.add(run["runId"])
        assert changed == {"deals", "notes"}
        assert names(tmp_path, "deals")[int(deal["id"])] == "Changed while nobody looked"
        assert names(tmp_path, "notes")[4713] == "New"

        assert hook.texts == []
        record, sound, *_ = sandbox.crm.records("notes")
        sandbox.crm.replace("notes", 1, record)
        eventually(lambda: hook.texts)
        assert hook.texts[0].startswith("*CRM: crm/notes unique_id fails*\nSince 20")
        sandbox.crm.replace("notes", 1, sound)
        eventually(lambda: len(hook.texts) > 1)
        assert hook.texts[1].startswith("*Resolved: crm/notes unique_id fails*\nIt lasted ")
        assert len(hook.texts) == 2


def test_what_a_stopped_crm_or_a_killed_worker_did_not_load_is_loaded_by_itself(
    live: dict[str, str], tmp_path: Path
) -> None:
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as stopped:
        live["SOURCES__CRM__BASE_URL"] = stopped.base_url
        port = stopped.port
    with webhook() as hook, deployed(live | {"ALERTS__WEBHOOK_URL": hook.url}, tmp_path) as deployment:
        failed = deployment.launch("crm_all", ["deals", "notes"])
        for sensor in ("crm_recovery", "crm_alerts"):
            deployment.switch_on(sensor)
        assert deployment.ended(set())["status"] == "FAILURE"
        eventually(lambda: hook.texts)
        assert hook.texts[0].startswith("*CRM: crm/deals, crm/notes did not load*\nSince 20")
        assert "no connection (Connection refused)" in hook.texts[0]
        assert hook.texts[0].endswith(f"http://127.0.0.1:3000/runs/{failed}")
        with Sandbox(SMALL, email=EMAIL, api_key=API_KEY, port=port) as back:
            run = deployment.ended({failed})
            assert run["status"] == "SUCCESS"
            assert run["resources"] == {"deals", "notes"}
            eventually(lambda: len(hook.texts) > 1)
            assert hook.texts[1].startswith("*Resolved: crm/deals, crm/notes did not load*")
            assert len(names(tmp_path, "deals")) == SMALL["deals"]

            back.fault("deals=hang")
            killed = deployment.launch("crm_all", ["deals"])
            os.kill(eventually(lambda: deployment.process_of(killed)), signal.SIGKILL)
            back.clear_faults()
            assert deployment.ended({failed, run["runId"], killed})["status"] == "SUCCESS"
