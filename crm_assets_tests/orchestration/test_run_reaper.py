"""A run whose process was killed is ended by whoever comes next; one that still works never is."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import pytest

from crm_assets.orchestration.run_reaper import process_tags, reap_dead_runs
from crm_assets_tests.conftest import environment

TAGS = """
import sys
from crm_assets.orchestration.run_reaper import process_tags
print(*process_tags(sys.argv[1]).popitem(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run_id() -> str:
    """The id of a run."""
    return str(uuid4())


@pytest.fixture
def other(run_id: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """Another process, and the tags of the run if it executes that."""
    with subprocess.Popen(
        [sys.executable, "-c", TAGS, run_id],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        name, value = process.stdout.readline().split()
        yield process, {name: value}
        process.kill()


def started(instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> None:
    run = dg.DagsterRun(job_name="crm_all", run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.add_run(run)


def is_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    reap_dead_runs(instance)
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def test_a_run_ends_with_its_process_and_not_before(
    instance: dg.DagsterInstance, run_id: str, other: tuple["subprocess.Popen[str]", dict[str, str]]
) -> None:
    process, tags = other
    started(instance, run_id, tags)
    assert not is_ended(instance, run_id)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_ended(instance, run_id)


def test_another_process_with_the_same_number_is_not_the_same(instance: dg.DagsterInstance, run_id: str) -> None:
    name, value = process_tags(run_id).popitem()
    host, pid, began, _ = value.split("/")
    assert int(pid) == os.getpid()
    started(instance, run_id, {name: f"{host}/{pid}/{float(began) - 5}/{run_id}"})
    assert is_ended(instance, run_id)


def test_a_run_that_an_earlier_version_began_is_ended_too(instance: dg.DagsterInstance, run_id: str) -> None:
    _, value = process_tags(run_id).popitem()
    host, pid, began, _ = value.split("/")
    started(instance, run_id, {"crm_assets/process": f"{host}/{pid}/{float(began) - 5}/{run_id}"})
    assert is_ended(instance, run_id)


def test_a_run_that_is_tried_again_does_not_end_with_the_process_of_the_first_attempt(
    instance: dg.DagsterInstance, run_id: str, other: tuple["subprocess.Popen[str]", dict[str, str]]
) -> None:
    process, tags = other
    process.kill()
    process.wait()
    again = str(uuid4())
    started(instance, again, tags)
    assert not is_ended(instance, again)


def test_what_nobody_here_can_know_is_left_alone(instance: dg.DagsterInstance, run_id: str) -> None:
    (name,) = process_tags(run_id)
    started(instance, run_id, {name: f"another-host/1/1/{run_id}"})
    assert not is_ended(instance, run_id)
    untagged = str(uuid4())
    started(instance, untagged, {})
    assert not is_ended(instance, untagged)
