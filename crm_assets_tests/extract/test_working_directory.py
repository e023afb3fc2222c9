"""Where a run keeps its files while it works."""

import subprocess
import sys
from pathlib import Path

from crm_assets.extract.working_directory import working_directory
from crm_assets_tests.conftest import an_account

SCRIPT = """
import sys
from crm_assets.account import resolve_account
from crm_assets.extract.working_directory import working_directory
with working_directory(resolve_account(data_dir=sys.argv[1]), sys.argv[2]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_working_directory_is_removed_when_its_run_ends_also_by_an_error(tmp_path: Path) -> None:
    try:
        with working_directory(an_account(data_dir=tmp_path), "run") as directory:
            (directory / "file").touch()
            raise RuntimeError  # noqa: TRY301 - the error is the point
    except RuntimeError:
        pass
    assert not list((tmp_path / "runs").iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_runs_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*command, "dead"], **pipes) as dead,  # type: ignore[call-overload]
        subprocess.Popen([*command, "alive"], **pipes) as alive,  # type: ignore[call-overload]
    ):
        dead.stdout.readline()
        alive.stdout.readline()
        dead.kill()
        dead.wait()
        with working_directory(an_account(data_dir=tmp_path), "next"):
            assert sorted(path.name for path in (tmp_path / "runs").glob("*[!k]")) == ["crm.alive", "crm.next"]
        alive.stdin.close()
