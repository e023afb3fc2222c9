"""A run whose process was killed is ended by whoever comes next; one that still works never is."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from crm_assets.dead_runs import end_dead_runs, process_tags
from crm_assets_tests.conftest import environment

TAGS = "from crm_assets.dead_runs import process_tags; print(*process_tags().popitem(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """Another process, and the tags of a run that it executes."""
    with subprocess.Popen(
        [sys.executable, "-c", TAGS], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        name, value = process.stdout.readline().split()
        yield process, {name: value}
        process.kill()


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = dg.DagsterRun(job_name="crm_all", status=dg.DagsterRunStatus.STARTED, tags=tags)
    return instance.add_run(run).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    end_dead_runs(instance)
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_a_run_ends_with_its_process_and_not_before(
    instance: dg.DagsterInstance, other: tuple["subprocess.Popen[str]", dict[str, str]]
) -> None:
    process, tags = other
    run = started(instance, tags)
    assert status(instance, run) is dg.DagsterRunStatus.STARTED
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert status(instance, run) is dg.DagsterRunStatus.FAILURE


def test_another_process_with_the_same_number_is_not_the_same(instance: dg.DagsterInstance) -> None:
    name, value = process_tags().popitem()
    host, pid, began = value.split("/")
    assert int(pid) == os.getpid()
    later = started(instance, {name: f"{host}/{pid}/{int(began) - 1}"})
    assert status(instance, later) is dg.DagsterRunStatus.FAILURE


def test_what_nobody_here_can_know_is_left_alone(instance: dg.DagsterInstance) -> None:
    (name,) = process_tags()
    elsewhere = started(instance, {name: "another-host/1/1"})
    untagged = started(instance, {})
    assert status(instance, elsewhere) is dg.DagsterRunStatus.STARTED
    assert status(instance, untagged) is dg.DagsterRunStatus.STARTED
