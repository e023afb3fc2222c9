"""`warehouse.snapshot`: a copy of the DuckDB file that each load replaces, and that readers may keep open."""

from pathlib import Path

import duckdb
import pytest

from crm_assets.errors import SettingError
from crm_assets.load.warehouses.snapshot import replace_snapshot, snapshot_path
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Command, Materialize, Warehouse, an_account
from crm_assets_tests.load.test_disk import files_of_at_most

COUNT = "SELECT count(*) FROM crm.notes"


@pytest.fixture
def snapshot(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """The copy, as another tool looks at it."""
    monkeypatch.setenv("WAREHOUSE__SNAPSHOT", "data/snapshot.duckdb")
    return Warehouse(warehouse.path.with_name("snapshot.duckdb"))


def test_a_reader_who_has_it_open_stops_no_load_and_keeps_what_it_reads(
    materialize: Materialize, sandbox: Sandbox, snapshot: Warehouse
) -> None:
    assert materialize(["notes"]).success
    with duckdb.connect(str(snapshot.path), read_only=True) as reader:
        assert reader.execute(COUNT).fetchall() == [(SMALL["notes"],)]
        sandbox.crm.create("notes")
        assert materialize(["notes"]).success
        assert reader.execute(COUNT).fetchall() == [(SMALL["notes"],)]
        assert reader.execute("SELECT count(*) FROM crm.notes WHERE id > 0").fetchall() == [(SMALL["notes"],)]
    assert snapshot.query(COUNT) == [(SMALL["notes"] + 1,)]


def test_it_has_what_the_warehouse_has(materialize: Materialize, warehouse: Warehouse, snapshot: Warehouse) -> None:
    assert materialize(["notes", "deals"]).success
    tables = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2"
    assert snapshot.query(tables) == warehouse.query(tables)
    for schema, table in warehouse.query(tables):
        everything = f'SELECT * FROM "{schema}"."{table}" ORDER BY ALL'
        assert snapshot.query(everything) == warehouse.query(everything)
    version = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
    assert snapshot.query(version) == warehouse.query(version)


def test_there_is_none_as_shipped(materialize: Materialize, warehouse: Warehouse) -> None:
    assert materialize(["notes"]).success
    assert [file.name for file in warehouse.path.parent.glob("*.duckdb*")] == [warehouse.path.name]


def test_a_run_that_loads_nothing_leaves_the_one_before(
    materialize: Materialize, sandbox: Sandbox, snapshot: Warehouse
) -> None:
    assert materialize(["notes"]).success
    before = snapshot.path.stat().st_ino
    sandbox.fault(Fault("notes", "status", status=404))
    assert not materialize(["notes"]).success
    assert snapshot.path.stat().st_ino == before


def test_a_copy_that_fails_ends_the_run_when_the_tables_are_loaded_and_checked(
    crm_assets: Command, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert crm_assets("sync", "notes", WAREHOUSE__SNAPSHOT="data/snapshot.duckdb").returncode == 0
    snapshot = Warehouse(tmp_path / "data" / "snapshot.duckdb")
    sandbox.crm.create("notes")
    snapshot.path.with_name("snapshot.duckdb.part").mkdir()
    done = crm_assets("sync", "notes", WAREHOUSE__SNAPSHOT="data/snapshot.duckdb")
    assert done.returncode == 6
    assert "The tables are loaded; their snapshot is the one before." in done.stderr
    assert "0 errors" in done.stdout
    assert crm_assets("status", "notes").returncode == 0
    assert Warehouse(tmp_path / "data" / "warehouse.duckdb").query(COUNT) == [(SMALL["notes"] + 1,)]
    assert snapshot.query(COUNT) == [(SMALL["notes"],)]


def test_a_copy_that_breaks_off_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"x" * 4_000_000)
    path.write_bytes(b"before")
    with source.open("rb") as file, files_of_at_most(1_500_000), pytest.raises(OSError, match="File too large"):
        replace_snapshot(file, path)
    assert path.read_bytes() == b"before"
    assert {one.name for one in tmp_path.iterdir()} == {"source", "copy"}


def test_what_a_killed_run_had_copied_is_overwritten(materialize: Materialize, snapshot: Warehouse) -> None:
    snapshot.path.parent.mkdir()
    snapshot.path.with_name("snapshot.duckdb.part").write_text("half a copy")
    assert materialize(["notes"]).success
    assert snapshot.query(COUNT) == [(SMALL["notes"],)]
    assert not list(snapshot.path.parent.glob("*.part"))


def test_what_a_reader_wrote_into_the_copy_is_not_applied_to_the_next(
    materialize: Materialize, snapshot: Warehouse
) -> None:
    assert materialize(["notes"]).success
    snapshot.path.with_name("snapshot.duckdb.wal").write_text("left by a reader that was killed")
    assert materialize(["notes"]).success
    assert snapshot.query(COUNT) == [(SMALL["notes"],)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("data/warehouse.duckdb", "is the DuckDB file of the warehouse itself"),
        ("missing/snapshot.duckdb", "there is no folder"),
        ("home", "is the folder"),
        ("crm.duckdb", "named like the dataset crm"),
    ],
)
def test_a_place_where_it_cannot_be_is_refused_before_the_crm_is_asked(
    crm_assets: Command, sandbox: Sandbox, value: str, said: str
) -> None:
    done = crm_assets("sync", "notes", WAREHOUSE__SNAPSHOT=value)
    assert done.returncode == 2
    assert "warehouse.snapshot (WAREHOUSE__SNAPSHOT)" in done.stderr
    assert said in done.stderr
    assert not sandbox.requests


@pytest.mark.usefixtures("snapshot")
def test_a_destination_without_a_file_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__LAKE__DESTINATION_TYPE", "ducklake")
    monkeypatch.setenv("WAREHOUSE__DESTINATION", "lake")
    with pytest.raises(SettingError, match=r"warehouse\.destination is 'lake': only a DuckDB file can be copied"):
        snapshot_path(an_account())
