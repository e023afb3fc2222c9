"""A disk that is full, a folder that cannot be written: a clear error, the tables as before, nothing left behind."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, Command, Materialize, Warehouse, failure_of, some


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse what makes a file larger, as a full disk does; Dagster's own files are smaller."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A CRM with one large page and many small ones."""
    with Sandbox({**SMALL, "tickets": 6_000, "contacts": 6_000}, email=EMAIL, api_key=API_KEY) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "while_doing"), some(("contacts", "loading into crm"), ("tickets", "reading tickets"))
)
def test_a_disk_that_is_full_is_said_and_leaves_the_table_as_it_was(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    capfd: pytest.CaptureFixture[str],
    name: str,
    while_doing: str,
) -> None:
    assert materialize([name]).success
    table = f"SELECT * FROM crm.{name} ORDER BY id"
    before = warehouse.query(table)
    for (key,) in warehouse.query(f"SELECT id FROM crm.{name}"):
        sandbox.crm.update(name, key, created_time=1_600_000_000)
    capfd.readouterr()
    with files_of_at_most(1_500_000):
        failed = materialize([name])
    assert not failed.success
    assert "Free some disk space" in failure_of(failed)
    assert f"File too large, while {while_doing}." in failure_of(failed)
    assert f"{warehouse.path.parent}/" in failure_of(failed)  # which file, or the folder that it is in
    assert "Traceback" not in failure_of(failed) + "".join(capfd.readouterr())
    assert warehouse.query(table) == before
    for leftover in ("runs", "unfinished"):
        assert not list((warehouse.path.parent / leftover).glob("*"))
    assert materialize([name]).success
    assert warehouse.query(table) != before
    assert warehouse.query(f"SELECT count(*) FROM crm.{name}") == [(6_000,)]


def test_a_data_folder_that_cannot_be_written_is_named(crm_assets: Command, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    done = crm_assets("sync", "deals")
    assert done.returncode == 6
    assert f"{tmp_path}/data/runs" in done.stderr
    assert "Not a directory" in done.stderr


def test_a_missing_temporary_folder_does_not_matter(crm_assets: Command, tmp_path: Path) -> None:
    done = crm_assets("sync", "deals", TMPDIR=str(tmp_path / "missing"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["sync", "check", "status", "report"])
def test_a_history_that_cannot_be_written_is_one_sentence(crm_assets: Command, tmp_path: Path, command: str) -> None:
    with files_of_at_most(4_096):
        done = crm_assets(command, "milestone")
    assert done.returncode == 6
    said = [line for line in done.stderr.splitlines() if "dagster.yaml" not in line]
    assert len(said) == 1
    assert said[0].startswith(f"Dagster's history in {tmp_path}/home (DAGSTER_HOME) cannot be written: disk I/O error.")
    assert "Free some disk space there" in said[0]
