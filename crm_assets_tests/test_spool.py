"""Listings on disk."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from crm_assets.sync.spool import ListingSpool, working_directory


def test_rows_written_before_a_column_appeared_are_read_with_it(tmp_path: Path) -> None:
    spool = ListingSpool(tmp_path, "milestone")
    spool.add([{"id": 1}])
    spool.add([{"id": 2, "x": 1}])
    spool.add([{"id": 3}])
    listing = spool.complete()
    table = pa.concat_tables(listing.tables())
    assert table.column("id").to_pylist() == [1, 2, 3]
    assert table.column("x").to_pylist() == [None, "1", None]
    assert len(listing.parts) == 2


def test_a_listing_without_records_is_one_empty_table(tmp_path: Path) -> None:
    listing = ListingSpool(tmp_path, "milestone").complete()
    assert [table.num_rows for table in listing.tables()] == [0]
    assert listing.rows == listing.rejected_rows == 0


def test_rejected_records_wait_beside_the_rows(tmp_path: Path) -> None:
    spool = ListingSpool(tmp_path, "milestone")
    spool.add([{"id": 1}, {"id": "x"}, 5])
    listing = spool.complete()
    assert (listing.rows, listing.rejected_rows) == (1, 2)
    assert pa.concat_tables(listing.rejected_tables()).column("record").to_pylist() == ["5", '{"id":"x"}']


def test_a_working_directory_is_removed_when_its_run_ends_also_by_an_error(tmp_path: Path) -> None:
    try:
        with working_directory(tmp_path, "run") as directory:
            (directory / "file").touch()
            raise RuntimeError  # noqa: TRY301 - the error is the point
    except RuntimeError:
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_runs_is_not(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from crm_assets.sync.spool import working_directory\n"
        "with working_directory(Path(sys.argv[1]), sys.argv[2]): print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*command, "dead"], **pipes) as dead,  # type: ignore[call-overload]
        subprocess.Popen([*command, "alive"], **pipes) as alive,  # type: ignore[call-overload]
    ):
        dead.stdout.readline()
        alive.stdout.readline()
        dead.kill()
        dead.wait()
        with working_directory(tmp_path, "next"):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "next"]
        alive.stdin.close()
