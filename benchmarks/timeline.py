"""Where the time of a run of ours went, as Dagster's history and dlt's own record of the loads tell it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import dagster as dg
import duckdb

from benchmarks.landed import SCHEMA

LOAD_STEPS: Final = ("extract", "normalize", "load")


@dataclass(frozen=True)
class Timeline:
    """One run.

    Attributes:
        landed: seconds from the start of the run to the last table landed.
        bookkeeping: seconds that checks and Dagster took: from the first event of the run to the start of its first
            step, and from the last table landed to the end of the process. Importing it and opening the history are
            not in it.
        checks: how many results of checks were recorded.
        stages: seconds of each stage of the work, as the materializations tell them: those of the threads that read
            the listings, all together, and the steps of dlt's load.
    """

    landed: float
    bookkeeping: float
    checks: int
    stages: Mapping[str, float]


def timeline_of(home: Path, database: Path, ended: float) -> Timeline:
    """Return the timeline of the latest run.

    Args:
        home: its `DAGSTER_HOME`.
        database: where its tables are.
        ended: when its process ended, in seconds since 1970.
    """
    os.environ["DAGSTER_HOME"] = str(home)  # where its dagster.yaml looks for it
    with dg.DagsterInstance.get() as instance:
        events = instance.all_logs(instance.get_runs(limit=1)[0].run_id)
    times = {kind: [event.timestamp for event in events if event.dagster_event_type is kind] for kind in _KINDS}
    landed = _last_load(database)
    begun = min(event.timestamp for event in events)
    return Timeline(
        landed=landed - min(times[dg.DagsterEventType.RUN_START]),
        bookkeeping=min(times[dg.DagsterEventType.STEP_START]) - begun + ended - landed,
        checks=len(times[dg.DagsterEventType.ASSET_CHECK_EVALUATION]),
        stages=_stages(events),
    )


_KINDS = (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START, dg.DagsterEventType.ASSET_CHECK_EVALUATION)


def _stages(events: Iterable[dg.EventLogEntry]) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in events:
        materialization = entry.asset_materialization
        if materialization is None or "stage_seconds" not in materialization.metadata:
            continue
        seconds: Any = materialization.metadata["stage_seconds"].value
        for stage, spent in seconds.items():
            # The steps of the load are of all tables, and each of them tells them.
            found[stage] = spent if stage in LOAD_STEPS else found.get(stage, 0.0) + spent
    return found


def _last_load(database: Path) -> float:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ((moment,),) = connection.execute(f"SELECT max(inserted_at) FROM {SCHEMA}._dlt_loads").fetchall()
    return float(moment.replace(tzinfo=UTC).timestamp())
