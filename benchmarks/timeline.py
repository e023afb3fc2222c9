"""Where the time of a run of ours went, as Dagster's history and dlt's own record of the loads tell it."""

import os
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import dagster as dg
import duckdb

from benchmarks.landed import SCHEMA


@dataclass(frozen=True)
class Timeline:
    """One run.

    Attributes:
        landed: seconds from the start of the run to the last table landed.
        bookkeeping: seconds that checks and Dagster took: from the first event of the run to the start of its first
            step, and from the last table landed to the end of the process. Importing it and opening the history are
            not in it.
        checks: how many results of checks were recorded.
    """

    landed: float
    bookkeeping: float
    checks: int


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
    )


_KINDS = (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_START, dg.DagsterEventType.ASSET_CHECK_EVALUATION)


def _last_load(database: Path) -> float:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ((moment,),) = connection.execute(f"SELECT max(inserted_at) FROM {SCHEMA}._dlt_loads").fetchall()
    return float(moment.replace(tzinfo=UTC).timestamp())
