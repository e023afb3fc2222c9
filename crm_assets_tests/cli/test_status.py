"""What `status` and `report` say, and their exit codes, in each situation that a person or a monitor meets."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest

from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import COMMAND, SMALL, Command, holding, some
from crm_assets_tests.deployment import eventually


@dataclass
class Place:
    """A deployment of one test: its command, its CRM, its files."""

    command: Command
    sandbox: Sandbox
    file: Path
    environment: dict[str, str]
    changes: dict[str, str] = field(default_factory=dict)
    """What the environment has then."""


def loaded(place: Place) -> None:
    assert place.command("sync", "notes").returncode == 0


def one_failed(place: Place) -> None:
    loaded(place)
    place.sandbox.fault(Fault("notes", "status", retry_after="9999"))
    assert place.command("sync", "notes").returncode == 4


def interrupted(place: Place) -> None:
    loaded(place)
    before = place.sandbox.requests["notes"]
    fault = place.sandbox.fault(Fault("notes", "hang"))
    with subprocess.Popen(
        [COMMAND, "sync", "notes"], env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        eventually(lambda: place.sandbox.requests["notes"] > before)
        process.send_signal(signal.SIGINT)
    fault.release.set()
    assert process.returncode == 130


def check_failed(place: Place) -> None:
    loaded(place)
    place.sandbox.crm.replace("notes", 1, next(place.sandbox.crm.records("notes")))
    assert place.command("sync", "notes").returncode == 1


def stale(place: Place) -> None:
    loaded(place)
    place.changes |= {"AUTOMATION__ENABLED": "true", "AUTOMATION__FREQUENT_CRON": "* * * * *"}
    with duckdb.connect(str(place.file)) as warehouse:
        # Another load than Dagster's, of yesterday.
        warehouse.execute("UPDATE crm._dlt_loads SET load_id = '1'; UPDATE crm.resource_loads SET _dlt_load_id = '1'")
        warehouse.execute("UPDATE crm.resource_loads SET loaded_at = loaded_at - INTERVAL 1 DAY")


def table_missing(place: Place) -> None:
    loaded(place)
    with duckdb.connect(str(place.file)) as warehouse:
        warehouse.execute("DROP TABLE crm.notes")
    assert place.command("check", "notes").returncode == 1


def other_dataset(place: Place) -> None:
    loaded(place)
    place.changes["WAREHOUSE__DATASET"] = "elsewhere"


def restored_backup(place: Place) -> None:
    loaded(place)
    backup = shutil.copy(place.file, place.file.with_suffix(".backup"))
    loaded(place)
    shutil.copy(backup, place.file)


def other_instance(place: Place) -> None:
    loaded(place)
    home = place.file.parent / "another_home"
    home.mkdir()
    place.changes["DAGSTER_HOME"] = str(home)


def failed_here_loaded_elsewhere(place: Place) -> None:
    one_failed(place)
    place.sandbox.clear_faults()
    home = place.file.parent / "another_home"
    home.mkdir()
    assert place.command("sync", "notes", DAGSTER_HOME=str(home)).returncode == 0


def gone(place: Place) -> None:
    loaded(place)
    place.file.unlink()


def never(place: Place) -> None:
    pass


SITUATIONS: dict[str, tuple[Callable[[Place], None], int, str]] = {
    "never loaded": (never, 1, "load: crm: was never loaded."),
    "loaded": (loaded, 0, ""),
    "one failed": (one_failed, 1, "load: notes: HTTP 503"),
    "interrupted": (interrupted, 0, "load: The last run was ended before it had loaded this table."),
    "check failed": (check_failed, 1, "unique_id: The last listing had 1 id more than once"),
    "stale": (stale, 1, "freshness: Loaded 1 d 0 h ago; stale after 4 min."),
    "table missing": (table_missing, 1, "schema: There is no table notes."),
    "other dataset": (other_dataset, 1, "load: elsewhere: was never loaded."),
    "restored backup": (restored_backup, 0, "warehouse: The warehouse has an earlier load than the last one"),
    "other instance": (other_instance, 0, ""),
    "failed here, then loaded by another instance": (failed_here_loaded_elsewhere, 0, ""),
    "warehouse gone": (gone, 1, "warehouse: The warehouse has no record of a load of it"),
}


SIMILAR = {"other dataset", "other instance", "table missing", "failed here, then loaded by another instance"}
"""Situations of which others show the most."""


@pytest.mark.parametrize("situation", some(*sorted(SITUATIONS, key=lambda one: one in SIMILAR), always=-len(SIMILAR)))
def test_a_situation_has_its_words_and_its_exit_code(
    crm_assets: Command, sandbox: Sandbox, settings: dict[str, str], tmp_path: Path, situation: str
) -> None:
    bring_about, code, words = SITUATIONS[situation]
    place = Place(crm_assets, sandbox, tmp_path / "data" / "warehouse.duckdb", settings)
    bring_about(place)
    done = crm_assets("status", "notes", **place.changes)
    assert done.returncode == code, done.stdout + done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("crm/notes")
    assert words in line
    assert crm_assets("report", "notes", **place.changes).returncode == code


def test_a_warehouse_that_is_open_elsewhere_is_no_failure(crm_assets: Command, tmp_path: Path) -> None:
    assert crm_assets("sync", "notes").returncode == 0
    with holding(tmp_path / "data" / "warehouse.duckdb") as pid:
        done = crm_assets("status", "notes")
    assert done.returncode == 0
    assert f"warehouse: process {pid}" in done.stdout
    assert str(SMALL["notes"]) in done.stdout


def test_monitors_get_json_and_the_same_exit_code(crm_assets: Command) -> None:
    for code in (1, 0):  # never loaded, then loaded
        done = crm_assets("status", "milestone", "--json")
        assert (done.returncode, json.loads(done.stdout)["ok"]) == (code, code == 0)
        assert crm_assets("sync", "milestone", "--quiet").returncode == 0
