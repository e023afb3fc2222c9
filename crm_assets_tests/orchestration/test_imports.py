"""What a process imported before a run costs nothing at its end."""

import subprocess
import sys
from pathlib import Path

from crm_assets_tests.conftest import COMMAND, environment

SCRIPT = """
import gc
import crm_assets.definitions
from crm_assets.orchestration.imports import keep_imports
keep_imports()
first = gc.get_freeze_count()
made = [[] for _ in range(1000)]
keep_imports()
print(first > 10_000, gc.get_freeze_count() <= first)
"""


def test_what_is_imported_is_kept_once() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_duckdb_complains_of_nothing_at_the_end_of_a_run(settings: dict[str, str], tmp_path: Path) -> None:
    for command in ([COMMAND, "sync", "notes"], [COMMAND, "check", "notes"]):
        done = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr == ""
