"""How far the assets are from the floor: both load the same sandbox, by turns, each into a file of its own.

    python -m benchmarks.ratio [--rounds 5]

Interpreter start and imports are left out on both sides. The tables of both must be equal, or there is no ratio.
"""

import os
import statistics
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.process import sandbox_process

EMAIL, API_KEY = "bench@example.com", "bench-key"
COUNTS = dict.fromkeys(MODELS, 1_000) | {"contacts": 20_000, "companies": 5_000, "deals": 5_000, "campaigns": 500}


def seconds(module: str, *arguments: str, **environment: str) -> float:
    """Run `module` in a process of its own and return the seconds that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def differences(floor: Path, assets: Path) -> int:
    """Return how many rows of the eleven tables stand in one file and not in the other."""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{floor}' AS floor (READ_ONLY); ATTACH '{assets}' AS assets (READ_ONLY)")
        total = 0
        for resource in MODELS:
            names = connection.execute(
                "SELECT string_agg(format('\"{}\"', column_name), ', ' ORDER BY column_name) FROM duckdb_columns()"
                f" WHERE database_name = 'floor' AND table_name = '{resource}'"
            ).fetchall()[0][0]
            one, other = (f"SELECT {names} FROM {database}.crm.{resource}" for database in ("floor", "assets"))
            rows = connection.execute(
                f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one}))"
            ).fetchall()
            total += rows[0][0]
    return total


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder, sandbox_process(counts=COUNTS, email=EMAIL, api_key=API_KEY) as url:
        floor_file, home = Path(folder) / "floor.duckdb", Path(folder) / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        settings = {
            "SOURCES__CRM__BASE_URL": url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
            "DESTINATION__DUCKDB__CREDENTIALS": f"{folder}/assets.duckdb",
            "DLT_LOCAL_DIR": folder,
            "DAGSTER_HOME": str(home),
        }
        floor, assets = [], []
        print(f"{sum(COUNTS.values()):,} records; seconds by turns, the first into new files")
        for _ in range(rounds + 1):
            floor.append(seconds("benchmarks.floor", url, EMAIL, API_KEY, str(floor_file)))
            assets.append(seconds("benchmarks.assets", **settings))
            print(f"floor {floor[-1]:6.2f}   assets {assets[-1]:6.2f}   ratio {assets[-1] / floor[-1]:.2f}")
        if count := differences(floor_file, Path(folder) / "assets.duckdb"):
            sys.exit(f"{count} rows differ between the two: the ratio means nothing.")
    print(f"Both hold the same rows. Ratio of the medians: {statistics.median(assets) / statistics.median(floor):.2f}")


if __name__ == "__main__":
    main()
