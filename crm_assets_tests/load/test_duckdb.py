"""The DuckDB file has one writer at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_assets.errors import SettingError, WarehouseError, WarehouseLocked
from crm_assets.load.warehouses.duckdb import held, make_room_for_update

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the file open until its stdin ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "w.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        assert process.stdin
        process.stdin.close()


def test_a_file_that_another_process_holds_is_waited_for_with_a_line(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        assert holder.stdin
        holder.stdin.close()

    with held(tmp_path / "w.duckdb", memory_limit="1GB", lock_timeout=30, log=log) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert len(said) == 1
    assert f"process {holder.pid} (" in said[0]


def test_a_file_that_stays_held_is_an_error_that_names_the_process_and_the_setting(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with (
        pytest.raises(
            WarehouseLocked, match=rf"process {holder.pid} \(.*python.*\) for 0 s \(warehouse\.lock_timeout\)"
        ),
        held(tmp_path / "w.duckdb", memory_limit="1GB", lock_timeout=0, log=print),
    ):
        pass


def test_while_it_is_held_no_other_process_can_take_it(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with held(path, memory_limit="1GB", lock_timeout=0, log=print):
        other = subprocess.run([sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, check=False)
    assert "Could not set lock" in other.stderr


@pytest.mark.parametrize(("memory_limit", "threads"), [("100MB", 1), ("249 MB", 1), ("0.25GB", 2), ("1TiB", None)])
def test_the_memory_limit_allows_so_many_threads(tmp_path: Path, memory_limit: str, threads: int | None) -> None:
    with held(tmp_path / "w.duckdb", memory_limit=memory_limit, lock_timeout=0, log=print) as connection:
        expected = min(threads or 1_000, os.cpu_count() or 1)
        assert connection.execute("SELECT current_setting('threads')").fetchall() == [(expected,)]


def test_the_memory_limit_holds_for_every_connection_of_the_process(tmp_path: Path) -> None:
    with held(tmp_path / "w.duckdb", memory_limit="200MB", lock_timeout=0, log=print) as connection:
        other = connection.cursor()
        assert other.execute("SELECT current_setting('memory_limit')").fetchall() == [("190.7 MiB",)]


@pytest.mark.parametrize("size", [0, 4_096, 8_192, 12_287])
def test_a_file_that_a_killed_process_had_only_begun_is_made_anew(tmp_path: Path, size: int) -> None:
    whole, begun = tmp_path / "whole.duckdb", tmp_path / "begun.duckdb"
    with held(whole, memory_limit="1GB", lock_timeout=0, log=print):
        pass
    begun.write_bytes(whole.read_bytes()[:size])
    with held(begun, memory_limit="1GB", lock_timeout=0, log=print) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    with held(begun, memory_limit="1GB", lock_timeout=0, log=print) as connection:
        assert connection.execute("FROM t").fetchall() == [(1,)]
    assert {one.name for one in tmp_path.iterdir()} == {whole.name, begun.name}


def test_a_process_that_is_killed_while_it_makes_the_file_leaves_none(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from crm_assets.load.warehouses import duckdb\n"
        "def killed(*_): os.kill(os.getpid(), 9)\n"
        "duckdb._put = killed\n"
        "with duckdb.held(Path(sys.argv[1]), memory_limit='1GB', lock_timeout=0, log=print): pass"
    )
    file = tmp_path / "w.duckdb"
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False).returncode == -9
    [left] = tmp_path.iterdir()
    assert left != file
    with held(file, memory_limit="1GB", lock_timeout=0, log=print):
        assert [one.name for one in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("content", [b"notes of a person\n", b"\0" * 20 + b"x"])
def test_a_small_file_of_somebody_else_stays(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "w.duckdb"
    file.write_bytes(content)
    with pytest.raises(WarehouseError), held(file, memory_limit="1GB", lock_timeout=0, log=print):
        pass
    assert file.read_bytes() == content


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with (
        pytest.raises(WarehouseError, match=r"w\.duckdb cannot be opened"),
        held(path, memory_limit="1GB", lock_timeout=0, log=print),
    ):
        pass


@pytest.mark.parametrize(("version", "tag"), [("v1.0.0", "v1.0.0"), ("v1.4.0", "v1.4.0")])
def test_a_new_file_can_be_opened_by_the_versions_that_the_setting_names(
    tmp_path: Path, version: str, tag: str
) -> None:
    path = tmp_path / "it's.duckdb"
    for _ in range(2):  # made by the first, kept by the second
        with held(path, memory_limit="1GB", lock_timeout=0, log=print, storage_version=version) as connection:
            connection.execute("CREATE OR REPLACE TABLE t AS SELECT 1 AS a; CHECKPOINT")
            found = connection.execute("SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal")
            assert str(found.fetchall()[0][0]).startswith(tag)
            sizes = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
            # DuckDB 1.0 reads files with blocks of 256 KB alone; smaller ones hold a small table in a fifth of that.
            assert sizes == [(262_144 if tag == "v1.0.0" else 65_536,)]
        version = "latest"


def test_a_storage_version_that_duckdb_does_not_know_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match=r"warehouse\.storage_version \(WAREHOUSE__STORAGE_VERSION\) is 'v9\.9\.9'"),
        held(tmp_path / "w.duckdb", memory_limit="1GB", lock_timeout=0, log=print, storage_version="v9.9.9"),
    ):
        pass


def test_a_memory_limit_that_duckdb_does_not_take_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="WAREHOUSE__MEMORY_LIMIT"),
        held(tmp_path / "w.duckdb", memory_limit="much", lock_timeout=0, log=print),
    ):
        pass


def test_an_update_of_more_rows_than_the_memory_limit_has_room_for(tmp_path: Path) -> None:
    rows = 4_000_000
    with held(tmp_path / "w.duckdb", memory_limit="100MB", lock_timeout=0, log=print) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT range AS id, 'the first load' AS load FROM range({rows})")
        connection.execute("BEGIN")
        make_room_for_update(connection, rows)
        connection.execute("UPDATE t SET load = 'the second load'")
        connection.execute("COMMIT")
        assert connection.execute("SELECT DISTINCT load FROM t").fetchall() == [("the second load",)]
