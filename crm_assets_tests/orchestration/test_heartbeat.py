"""A run shows that it lives while its step works, and only then; that costs it nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from threading import enumerate as threads

import dagster as dg
import pytest

from crm_assets.orchestration.heartbeat import RunProcess, heartbeat, machine, process_of
from crm_assets_tests.conftest import Materialize
from crm_assets_tests.deployment import eventually

OFTEN = 0.1
"""Seconds between two heartbeats here."""


@pytest.fixture
def history(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A history in files: one in memory cannot be written by two threads at once."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def said(history: dg.DagsterInstance, run_id: str) -> RunProcess | None:
    run = history.get_run_by_id(run_id)
    return process_of(run) if run else None


def beat(history: dg.DagsterInstance, run_id: str) -> str:
    process = said(history, run_id)
    return process.beat if process else ""


def next_beat(history: dg.DagsterInstance, run_id: str) -> str:
    before = beat(history, run_id)
    return eventually(lambda: found if (found := beat(history, run_id)) != before else None, every=0.02)


def run(history: dg.DagsterInstance, work: Callable[[str], object]) -> dg.DagsterRun:
    """Do `work`, which is told the run's id, in a step that has a heartbeat, and return the run."""

    @dg.asset
    def works(context: dg.AssetExecutionContext) -> None:
        with heartbeat(context, OFTEN):
            work(context.run.run_id)

    result = dg.materialize([works], instance=history, raise_on_error=False)
    found = history.get_run_by_id(result.run_id)
    assert found
    return found


def in_several_processes() -> dg.JobDefinition:
    """Return a job whose steps have a process each."""

    @dg.op
    def works(context: dg.OpExecutionContext) -> None:
        with heartbeat(context, OFTEN):
            pass

    @dg.job(executor_def=dg.multiprocess_executor)
    def steps() -> None:
        works()

    return steps


def test_it_is_another_one_each_time_and_ends_with_the_step(history: dg.DagsterInstance) -> None:
    beats = set[str]()

    def work(run_id: str) -> None:
        beats.update([beat(history, run_id), next_beat(history, run_id), next_beat(history, run_id)])

    run_id = run(history, work).run_id
    assert len(beats) == 3
    assert all(beats)
    process = said(history, run_id)
    assert process
    assert (process.machine, process.beat) == (machine(), "")
    assert not [thread for thread in threads() if thread.name == "heartbeat"]


@pytest.mark.parametrize("error", [ValueError, dg.DagsterExecutionInterruptedError])
def test_it_ends_with_a_step_that_fails_or_is_interrupted(
    history: dg.DagsterInstance, error: type[BaseException]
) -> None:
    def work(_: str) -> None:
        raise error

    failed = run(history, work)
    assert beat(history, failed.run_id) == ""
    assert not [thread for thread in threads() if thread.name == "heartbeat"]


def test_a_database_that_is_away_for_a_while_fails_nothing(history: dg.DagsterInstance, tmp_path: Path) -> None:
    def work(run_id: str) -> None:
        before = beat(history, run_id)
        with closing(sqlite3.connect(tmp_path / "history" / "runs.db")) as database:
            database.execute("ALTER TABLE run_tags RENAME TO away")
            Event().wait(3 * OFTEN)
            database.execute("ALTER TABLE away RENAME TO run_tags")
        assert next_beat(history, run_id) != before

    assert run(history, work).is_success


def test_a_step_that_is_not_the_whole_run_has_none(history: dg.DagsterInstance) -> None:
    with dg.execute_job(dg.reconstructable(in_several_processes), history) as result:
        assert result.success
        assert said(history, result.run_id) is None


def test_the_step_of_an_account_has_one(materialize: Materialize, instance: dg.DagsterInstance) -> None:
    process = said(instance, materialize(["notes"]).run_id)
    assert process
    assert process.machine == machine()
