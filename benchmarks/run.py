"""One run of a peer: in a folder of its own, measured from outside, its tables checked."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import measure
from benchmarks.landed import problem_of
from benchmarks.peers import HERE, OURS, Peer
from benchmarks.timeline import Timeline, timeline_of
from benchmarks.work import API_KEY, EMAIL

PATIENCE: Final = 600
"""Seconds after which a run is given up."""
_SHOWN: Final = 200
"""Characters of the last line that a run said which are told when it failed."""
_SETTINGS: Final = ("SOURCES__", "DESTINATION__", "WAREHOUSE__", "SYNC__", "ALERTS__", "DLT_", "DAGSTER_", "PYTHON")


@dataclass(frozen=True)
class Sample:
    """What one run took.

    Attributes:
        peer: its name.
        latency: of each response, in seconds.
        again: whether the tables were there already, and nothing had changed.
        seconds: of the whole process.
        cpu: CPU seconds of its tree of processes.
        memory: peak in bytes: of the largest process, or of all that were alive at once if that is more.
        processes: how many that was.
        size: of the database, in bytes.
        problem: why the run is no number: it failed, or lost records. None if all is well.
        timeline: of a run of ours.
    """

    peer: str
    latency: float
    again: bool
    seconds: float
    cpu: float
    memory: int
    processes: int
    size: int
    problem: str | None = None
    timeline: Timeline | None = None


def run(peer: Peer, folder: Path, url: str, work: Path, latency: float, *, again: bool) -> Sample:
    """Run `peer` in `folder`, which must exist, and return what it took.

    Args:
        peer: who.
        folder: where its database and all its files go; the same one for the run again.
        url: of the API.
        work: the folder of api.json and expected.json.
        latency: of the API, in seconds.
        again: whether it is the run on unchanged data.
    """
    database, result = folder / "warehouse.duckdb", folder / "result.json"
    home = folder / "dagster"
    if peer.dagster:
        home.mkdir(exist_ok=True)
        shutil.copy(peer.dagster, home / "dagster.yaml")
    words = {
        "python": peer.python,
        "bin": peer.python.parent,
        "here": HERE,
        "folder": folder,
        "url": url,
        "email": EMAIL,
        "api_key": API_KEY,
        "database": database,
    }
    command = [part.format(**words) for part in peer.command]
    environment = _environment(words, work) | {name: text.format(**words) for name, text in peer.environment.items()}
    if peer.environment is OURS:
        environment["PYTHONPATH"] = str(HERE.parent.parent)
    with (folder / "log.txt").open("w") as log:
        subprocess.run(
            [sys.executable, "-S", measure.__file__, str(result), str(PATIENCE), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    cost = json.loads(result.read_text())
    result.unlink()
    problem = _failure(cost["status"], folder / "log.txt")
    if not problem and peer.lands:
        problem = problem_of(database, json.loads((work / "expected.json").read_text()))
    timeline = None
    if not problem and peer.environment is OURS:
        timeline = timeline_of(home, database, cost["started"] + cost["seconds"])
    return Sample(
        peer.name,
        latency,
        again,
        cost["seconds"],
        cost["cpu"],
        max(cost["largest"], cost["tree"]),
        cost["processes"] if cost["tree"] > cost["largest"] else 1,
        database.stat().st_size if database.exists() else 0,
        problem,
        timeline,
    )


def _environment(words: Mapping[str, Any], work: Path) -> dict[str, str]:
    """Return the environment of every peer: none of the settings of whoever measures, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    folder = str(words["folder"])
    return kept | {
        "HOME": folder,
        "PATH": f"{words['bin']}{os.pathsep}{os.environ['PATH']}",
        "DAGSTER_HOME": f"{folder}/dagster",
        "DLT_DATA_DIR": f"{folder}/dlt",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "BENCH_API": f"{work}/api.json",
        "BENCH_URL": words["url"],
        "BENCH_EMAIL": words["email"],
        "BENCH_API_KEY": words["api_key"],
        "BENCH_DATABASE": str(words["database"]),
    }


def _failure(status: int | None, log: Path) -> str | None:
    if status is None:
        return f"did not end within {PATIENCE} s"
    if not status:
        return None
    said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"ended with {status}: {said[-1][:_SHOWN] if said else 'said nothing'}"
