"""Where a run keeps its files while it works."""

import subprocess
import sys
from pathlib import Path

from crm_assets.extract.working_directory import working_directory


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
        "import sys; from pathlib import Path; from crm_assets.extract.working_directory import working_directory\n"
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
