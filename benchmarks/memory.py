"""Memory of a run while it fetches and while it loads: a CRM ten times as large must not fetch in more of it.

    python -m benchmarks.memory [--contacts 1000000]

Loads a tenth of the contacts, then all of them twice, each time in a process of its own.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.process import sandbox_process

EMAIL, API_KEY = "bench@example.com", "bench-key"
EVERY = 0.02


def resident(pid: int) -> int:
    """Return the resident memory of process `pid` in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def peaks(folder: Path, environment: dict[str, str]) -> tuple[int, int, float]:
    """Run the assets; return the peak before the load, the peak of all in bytes, and the seconds of the run."""
    fetching = loading = 0
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.assets"], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            try:
                now = resident(process.pid)
            except (FileNotFoundError, IndexError):
                break
            if any((folder / "data" / "runs").glob("*/dlt")) or loading:
                loading = max(loading, now)
            else:
                fetching = max(fetching, now)
            Event().wait(EVERY)  # a measurement at even intervals, not a wait for something
        assert process.stdout
        seconds = float(process.stdout.read().split()[-1])
    return fetching, max(fetching, loading), seconds


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000)
    contacts = parser.parse_args().contacts
    before: list[int] = []
    for count, rounds in ((contacts // 10, 1), (contacts, 2)):
        counts = dict.fromkeys(MODELS, 1_000) | {"contacts": count}
        with TemporaryDirectory() as name, sandbox_process(counts=counts, email=EMAIL, api_key=API_KEY) as url:
            folder = Path(name)
            (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
            environment = {
                "SOURCES__CRM__BASE_URL": url,
                "SOURCES__CRM__EMAIL": EMAIL,
                "SOURCES__CRM__API_KEY": API_KEY,
                "DESTINATION__DUCKDB__CREDENTIALS": f"{folder}/data/warehouse.duckdb",
                "DLT_LOCAL_DIR": name,
                "DAGSTER_HOME": name,
            }
            for _ in range(rounds):
                fetch, peak, seconds = peaks(folder, environment)
                before.append(fetch)
                print(
                    f"{count:>9,} contacts: {fetch / 1e6:5.0f} MB before the load, {peak / 1e6:6.0f} MB at most, "
                    f"{seconds:6.1f} s",
                    flush=True,
                )
    print(f"Ratio of the memory before the load, all contacts to a tenth of them: {before[-1] / before[0]:.2f}")


if __name__ == "__main__":
    main()
