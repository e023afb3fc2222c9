"""What many accounts need: the memory of their code locations, and what a run costs the machines and the history.

    python -m benchmarks.scale [--accounts 1,50,200] [--runs 5]

Runs load a small CRM into a Postgres on loopback, with Dagster's history in another database of it. Prints what was
measured, and reckons from that what 50, 1,000 and 10,000 accounts need that are loaded once an hour.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks import measure
from benchmarks.growth import numbers
from crm_assets.project import ROOT
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, environment
from crm_assets_tests.postgres import PostgresServer, postgres_server

LOADED = """
import json, psutil, time
begun = time.monotonic()
import crm_assets.definitions as found
repository = found.defs.get_repository_def()
seconds = time.monotonic() - begun
print(json.dumps([seconds, psutil.Process().memory_info().rss]))
"""
RECKONED = (50, 1_000, 10_000)
PER_LOCATION = 200
"""Accounts of one code location."""
KEPT_DAYS = 30


@dataclass(frozen=True)
class Location:
    """A code location."""

    accounts: int
    seconds: float
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class RunCost:
    """What one run costs."""

    seconds: float
    cpu: float
    memory: int
    """Bytes at the peak."""
    events: float
    """Rows in Dagster's event log."""
    history: float
    """Bytes in Dagster's history."""


def location(accounts: int) -> Location:
    """Return what it takes to load a code location of so many accounts."""
    with TemporaryDirectory() as name:
        file = Path(name) / "accounts.yaml"
        names = [f"a{number:05}" for number in range(accounts)]
        file.write_text(yaml.safe_dump({one: {"base_url": f"https://{one}.example.com"} for one in names}))
        env = environment(ACCOUNTS=str(file), DLT_PROJECT_DIR=name, DLT_LOCAL_DIR=name, HOME=name)
        done = subprocess.run([sys.executable, "-c", LOADED], env=env, cwd=ROOT, capture_output=True, check=True)
        seconds, memory = json.loads(done.stdout)
    return Location(accounts, seconds, memory)


def run_cost(runs: int) -> RunCost:
    """Return what a run costs, as the mean of so many behind a first one."""
    with postgres_server() as server, TemporaryDirectory() as name, Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as crm:
        history, warehouse = server.database(), server.database()
        (Path(name) / "dagster.yaml").write_text((ROOT / "deploy" / "dagster.yaml").read_text())
        env = environment(
            DAGSTER_HOME=name,
            DAGSTER_POSTGRES_URL=history.replace("postgresql://", "postgresql+psycopg2://"),
            WAREHOUSE__DESTINATION="postgres",
            DESTINATION__POSTGRES__CREDENTIALS=warehouse,
            SOURCES__CRM__BASE_URL=crm.base_url,
            SOURCES__CRM__EMAIL=EMAIL,
            SOURCES__CRM__API_KEY=API_KEY,
            DLT_PROJECT_DIR=str(ROOT),
            DLT_LOCAL_DIR=name,
            HOME=name,
        )
        _load(env, Path(name))
        before = _history(server, history)
        costs = [_load(env, Path(name)) for _ in range(runs)]
        events, size = (now - then for now, then in zip(_history(server, history), before, strict=True))
    seconds, cpu, memory = (sum(one[word] for one in costs) / runs for word in ("seconds", "cpu", "largest"))
    return RunCost(seconds, cpu, int(memory), events / runs, size / runs)


def _load(env: dict[str, str], folder: Path) -> dict[str, float]:
    result = folder / "result.json"
    command = [
        Path(sys.executable).parent / "dagster",
        "job",
        "execute",
        "-m",
        "crm_assets.definitions",
        "-j",
        "crm_all",
    ]
    subprocess.run(
        [sys.executable, "-S", measure.__file__, str(result), "600", *map(str, command)],
        env={**env, "PATH": os.environ["PATH"]},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    cost: dict[str, float] = json.loads(result.read_text())
    if cost["status"]:
        raise RuntimeError("the run failed")
    return cost


def _history(server: PostgresServer, address: str) -> tuple[int, int]:
    [(events, size)] = server.execute(
        "SELECT (SELECT count(*) FROM event_logs), pg_database_size(current_database())", address
    )
    return int(events), int(size)


def reckoned(accounts: int, cost: RunCost, memory: Sequence[Location]) -> str:
    """Return a row of Markdown: what so many accounts need that are loaded once an hour."""
    busy = accounts * cost.seconds / 3_600
    each = (memory[-1].memory - memory[0].memory) / (memory[-1].accounts - memory[0].accounts)
    locations = -(-accounts // PER_LOCATION)
    held = locations * memory[0].memory + accounts * each
    kept = accounts * 24 * KEPT_DAYS * cost.history
    return (
        f"| {accounts:,} | {locations} | {held / 1e9:.1f} GB | {busy:.1f} | {accounts * cost.cpu / 3_600:.1f} |"
        f" {max(1, round(busy + 0.5)) * cost.memory / 1e9:.1f} GB | {accounts * cost.events / 3_600:,.0f} |"
        f" {kept / 1e9:,.0f} GB |"
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=numbers, default=[1, 50, 200])
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    found = [location(count) for count in given.accounts]
    print("| accounts in a code location | loaded in | memory |\n|---:|---:|---:|")
    for one in found:
        print(f"| {one.accounts} | {one.seconds:.1f} s | {one.memory / 1e6:.0f} MB |", flush=True)
    cost = run_cost(given.runs)
    print(
        f"\nA run: {cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU, {cost.memory / 1e6:.0f} MB, {cost.events:.0f} events,"
        f" {cost.history / 1e3:.0f} kB of history.\n"
    )
    print(
        "| accounts | code locations | their memory | runs at once | cores busy with runs | memory of runs |"
        f" events a second | history of {KEPT_DAYS} days |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for accounts in RECKONED:
        print(reckoned(accounts, cost, found))


if __name__ == "__main__":
    main()
