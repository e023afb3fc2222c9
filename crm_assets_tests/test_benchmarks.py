"""The benchmarks run: nothing else imports what they stand on."""

import subprocess
import sys

import pytest


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("benchmarks.children", ["--parents", "40", "--latency", "0.001"], "With 50 a second: "),
        ("benchmarks.agilecrm", ["--contacts", "20", "--latency", "0.001"], "At 50 a second: "),
        ("benchmarks.memory", ["--contacts", "2000"], "Ratio of the memory before the load, "),
    ],
)
def test_a_benchmark_runs(module: str, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(said)
