"""What a lake does otherwise than DuckDB: it is copied, loaded, and published; somebody else may write there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crm_assets.errors import WarehouseError
from crm_assets.load.warehouses.working_copy import WorkingCopy
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, Command, Materialize
from crm_assets_tests.lakes import LakeUnderTest
from crm_assets_tests.quality.test_checks import failures
from crm_assets_tests.runner import Run
from crm_assets_tests.warehouses import DeltaLake


@pytest.fixture
def warehouse(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> DeltaLake:
    """A lake of this test, and settings that point the project at it and at the sandbox."""
    made = DeltaLake(tmp_path / "ein See")
    login = {"SOURCES__CRM__BASE_URL": sandbox.base_url, "SOURCES__CRM__EMAIL": EMAIL, "SOURCES__CRM__API_KEY": API_KEY}
    for name, value in {"DLT_LOCAL_DIR": str(tmp_path), **login, **made.environment}.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def lake(warehouse: DeltaLake, tmp_path: Path) -> LakeUnderTest:
    """The same, as its readers see it."""
    return LakeUnderTest(tmp_path / "ein See")


def versions(lake: LakeUnderTest, *tables: str) -> list[int]:
    """Return the versions of some tables."""
    return [lake.table("crm", name).version() for name in tables]


def test_a_load_is_one_version_of_each_table_and_leaves_no_copy(
    materialize: Materialize, lake: LakeUnderTest, tmp_path: Path
) -> None:
    assert failures(materialize(["deals", "notes"])) == {}
    assert versions(lake, "deals", "notes", "_dlt_loads", "resource_loads") == [0, 0, 0, 0]
    assert lake.tables("crm") == {"deals": SMALL["deals"], "notes": SMALL["notes"], "rejected_records": 0}
    assert materialize(["notes"]).success
    assert versions(lake, "deals", "notes", "_dlt_loads") == [0, 1, 1]
    assert not list(tmp_path.rglob("*.duckdb"))
    assert not list((tmp_path / "data" / "runs").iterdir())


def test_readers_find_types_and_times_as_they_were_declared(materialize: Materialize, lake: LakeUnderTest) -> None:
    for _ in range(2):  # once new, once read and written again
        materialize(["deals"])
        types = lake.types("crm", "deals")
        names = ("id", "name", "expected_value", "created_time", "custom_data", "_dlt_load_id")
        assert [types[name] for name in names] == ["long", "string", "double", "timestamp", "JSON", "string"]
        assert not lake.table("crm", "deals").to_pyarrow_table().schema.field("id").nullable
        assert isinstance(lake.rows("crm", "deals")[0]["custom_data"], list)


def test_a_run_that_another_machine_overtook_writes_nothing_and_is_tried_again(
    sandbox: Sandbox, lake: LakeUnderTest, materialize: Materialize, tmp_path: Path
) -> None:
    assert materialize(["deals"]).success
    before = versions(lake, "deals", "_dlt_loads")
    table = lake.table("crm", "deals")
    hanging = sandbox.fault(Fault("notes", "hang", times=1))
    home = tmp_path / "home"
    home.mkdir()
    run = Run(home, {}, ["deals", "notes"])
    while sandbox.requests["notes"] == 0:
        assert run.is_alive()
    table.delete("id = 5")  # by somebody else, while the listings are read: seen when the copy is made, later
    hanging.release.set()
    assert run.outcome().success
    assert versions(lake, "deals", "_dlt_loads") == [before[0] + 2, before[1] + 1]
    assert lake.tables("crm")["deals"] == SMALL["deals"]


def test_what_somebody_writes_while_the_copy_is_loaded_stops_the_load_before_it_writes_and_it_is_tried_again(
    lake: LakeUnderTest, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert materialize(["deals", "notes"]).success
    tables = ("deals", "notes", "_dlt_loads", "resource_loads")
    seen: list[str] = []
    before, publish = versions(lake, *tables), WorkingCopy.publish

    def overtaken(copy: WorkingCopy, *given: Any) -> None:
        if not seen:
            lake.table("crm", "notes").delete("id > 0")
        try:
            publish(copy, *given)
        except WarehouseError as error:
            seen.append(str(error))
            assert versions(lake, *tables) == [before[0], before[1] + 1, *before[2:]]
            raise

    with monkeypatch.context() as inside:
        inside.setattr(WorkingCopy, "publish", overtaken)
        assert materialize(["deals", "notes"]).success
    [said] = seen
    assert "notes while this run loaded. Nothing was written. Run again" in said
    assert versions(lake, *tables) == [before[0] + 1, before[1] + 2, before[2] + 1, before[3] + 1]
    assert lake.tables("crm")["notes"] == SMALL["notes"]


def test_a_table_that_was_published_without_the_record_of_its_load_is_loaded_again(
    materialize: Materialize, sandbox: Sandbox, lake: LakeUnderTest
) -> None:
    assert materialize(["deals"]).success
    records = {name: lake.table("crm", name).version() for name in ("resource_loads", "_dlt_loads")}
    sandbox.crm.update("deals", next(iter(sandbox.crm.records("deals")))["id"], name="Changed")
    assert materialize(["deals"]).success
    for name, version in records.items():  # as a run leaves it that is killed before these
        lake.table("crm", name).restore(version)
    result = materialize(["deals"])
    assert failures(result) == {}
    assert "Changed" in {row["name"] for row in lake.rows("crm", "deals")}


def test_an_address_that_is_none_and_a_driver_that_is_missing_are_said_before_the_crm_is_asked(
    settings: dict[str, str], sandbox: Sandbox, crm_assets: Command
) -> None:
    done = crm_assets("sync", "notes", WAREHOUSE__DESTINATION="filesystem")
    assert done.returncode == 2
    assert "bucket_url not set under [destination.filesystem] in .dlt/config.toml" in " ".join(done.stderr.split())
    without = "import sys; sys.modules['deltalake'] = None; from crm_assets.cli.main import main; main()"
    env = settings | {"WAREHOUSE__DESTINATION": "filesystem", "DESTINATION__FILESYSTEM__BUCKET_URL": "lake"}
    missing = subprocess.run(
        [sys.executable, "-c", without, "sync", "notes"], env=env, capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert 'pip install "crm_assets[delta]"' in " ".join(missing.stderr.split())
    assert not sandbox.requests
