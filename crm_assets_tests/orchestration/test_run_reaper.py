"""A run whose process or machine died is ended by whoever comes next; one that still works never is."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from crm_assets.orchestration import build_defs, run_reaper
from crm_assets.orchestration.heartbeat import BEAT, process_of, process_tags
from crm_assets.orchestration.keys import checks_job, job_names, main_job
from crm_assets.orchestration.run_reaper import HeartbeatMonitor, Silences, job_tags, reap_dead_runs
from crm_assets_tests.conftest import an_account, environment, history_in
from crm_assets_tests.deployment import eventually

TAGS = """
import sys
from crm_assets.orchestration.heartbeat import process_tags
print(*process_tags(sys.argv[1]).popitem(), flush=True)
sys.stdin.read()
"""
ELSEWHERE = """
import sys
import dagster as dg
from crm_assets.orchestration import heartbeat

heartbeat.gethostname = lambda: "another-machine"

@dg.asset
def works(context: dg.AssetExecutionContext) -> None:
    with heartbeat.heartbeat(context, 0.1):
        print(context.run.run_id, flush=True)
        sys.stdin.read()

with dg.DagsterInstance.get() as instance:
    dg.materialize([works], instance=instance)
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


def elsewhere(run_id: str, beat: str = "") -> dict[str, str]:
    """Return the tags of the run `run_id` if another machine executes it."""
    (name,) = process_tags(run_id)
    return {name: f"another-machine:boot:1/1/1.00/{run_id}/{beat}"}


def is_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def is_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    reap_dead_runs(instance)
    return is_failed(instance, run_id)


@dataclass
class Judge:
    """A monitor that looks at one run, with a clock that the test sets."""

    instance: dg.DagsterInstance
    run_id: str
    monitor: HeartbeatMonitor
    now: float = 1000.0

    def looks(self, times: int, after: float = BEAT) -> bool:
        """Look that often, each time so many seconds later; return whether the run was ended."""
        for _ in range(times):
            self.now += after
            self.monitor.reap(self.instance, self.now)
        return is_failed(self.instance, self.run_id)


@pytest.fixture
def judge(instance: dg.DagsterInstance, run_id: str) -> Judge:
    """A judge that has seen nothing yet."""
    return Judge(instance, run_id, HeartbeatMonitor())


class TestOnThisMachine:
    def test_a_run_ends_with_its_process_and_not_before(
        self, instance: dg.DagsterInstance, run_id: str, other: tuple["subprocess.Popen[str]", dict[str, str]]
    ) -> None:
        process, tags = other
        started(instance, run_id, tags)
        assert not is_ended(instance, run_id)
        process.kill()
        process.wait()
        assert is_ended(instance, run_id)

    def test_another_process_with_the_same_number_is_not_the_same(
        self, instance: dg.DagsterInstance, run_id: str
    ) -> None:
        name, value = process_tags(run_id).popitem()
        machine, pid, created, *_ = value.split("/")
        assert int(pid) == os.getpid()
        started(instance, run_id, {name: f"{machine}/{pid}/{float(created) - 5}/{run_id}/"})
        assert is_ended(instance, run_id)

    @pytest.mark.parametrize("name", [".dagster/crm_assets_process", "crm_assets/process"])
    def test_a_run_that_an_earlier_version_began_is_ended_too(
        self, instance: dg.DagsterInstance, run_id: str, name: str
    ) -> None:
        _, value = process_tags(run_id).popitem()
        machine, pid, created, *_ = value.split("/")
        started(instance, run_id, {name: f"{machine.split(':')[0]}/{pid}/{float(created) - 5}/{run_id}"})
        assert is_ended(instance, run_id)

    def test_a_run_that_is_tried_again_does_not_end_with_the_process_of_the_first_attempt(
        self, instance: dg.DagsterInstance, other: tuple["subprocess.Popen[str]", dict[str, str]]
    ) -> None:
        process, tags = other
        process.kill()
        process.wait()
        again = str(uuid4())
        started(instance, again, tags)
        assert not is_ended(instance, again)

    def test_another_machine_of_the_same_name_is_not_this_one(self, instance: dg.DagsterInstance, run_id: str) -> None:
        name, value = process_tags(run_id).popitem()
        host = value.split(":")[0]
        started(instance, run_id, {name: f"{host}:another-boot:1/1/1.00/{run_id}/"})
        assert not is_ended(instance, run_id)

    def test_the_silence_of_a_process_that_lives_means_nothing(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, process_tags(judge.run_id, "first") | job_tags(an_account()))
        assert not judge.looks(30)


class TestOnAnotherMachine:
    def test_a_run_is_ended_when_it_has_given_no_sign_of_life_for_a_minute(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        assert not judge.looks(4)
        assert judge.looks(1)
        log = judge.instance.all_logs(judge.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        [said] = [entry.dagster_event.message for entry in log if entry.dagster_event]
        assert said == "The process that ran it, on another-machine, has given no sign of life for 60 s."

    def test_a_process_that_is_killed_falls_silent_and_one_that_works_never_does(self, tmp_path: Path) -> None:
        (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}", encoding="utf-8")
        with (
            history_in(tmp_path) as instance,
            subprocess.Popen(
                [sys.executable, "-c", ELSEWHERE],
                env=environment(DAGSTER_HOME=str(tmp_path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            assert process.stdout
            judge = Judge(instance, process.stdout.readline().strip(), HeartbeatMonitor())
            beat = ""
            for _ in range(8):
                beat = eventually(new_beat(judge, beat), every=0.05)
                assert not judge.looks(1)
            process.kill()
            process.wait()
            assert not judge.looks(3)
            assert judge.looks(2)  # two, because it may have beaten once more before it was killed

    def test_a_judge_that_slept_begins_anew(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        assert not judge.looks(4)
        assert not judge.looks(1, after=3600)
        assert not judge.looks(3)
        assert judge.looks(1)

    def test_a_pause_between_two_looks_counts_as_one_heartbeat(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        assert not judge.looks(4, after=100)
        assert judge.looks(1, after=100)

    def test_a_judge_whose_database_was_away_begins_anew(self, tmp_path: Path, run_id: str) -> None:
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            judge = Judge(instance, run_id, HeartbeatMonitor())
            started(instance, run_id, elsewhere(run_id, "first"))
            assert not judge.looks(4)
            history, away = tmp_path / "history" / "runs.db", tmp_path / "history" / "away.db"
            history.rename(away)
            with pytest.raises(Exception, match="no such table"):
                judge.looks(1)
            away.rename(history)
            assert not judge.looks(4)
            assert judge.looks(1)

    @pytest.mark.parametrize("happens", ["ends", "beats"])
    def test_a_run_that_ends_or_beats_just_before_it_would_be_ended_is_left_alone(
        self, judge: Judge, happens: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        judge.looks(4)
        before = judge.instance.get_runs()
        if happens == "ends":
            judge.instance.report_run_canceled(before[0])
        else:
            judge.instance.add_run_tags(judge.run_id, elsewhere(judge.run_id, "second"))
        with monkeypatch.context() as inside:
            inside.setattr(run_reaper, "_started", lambda _: before)
            assert not judge.looks(1)
        assert not judge.looks(1)

    def test_a_judge_goes_on_in_another_process_and_begins_anew_on_another_machine(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        assert not judge.looks(4)
        kept = judge.monitor.seen.model_dump_json()
        moved = Silences.model_validate_json(kept).model_copy(update={"clock": "another-machine"})
        assert not Judge(judge.instance, judge.run_id, HeartbeatMonitor(moved), judge.now).looks(4)
        next_process = HeartbeatMonitor(Silences.model_validate_json(kept))
        assert Judge(judge.instance, judge.run_id, next_process, judge.now).looks(1)

    def test_two_judges_end_a_run_once(self, judge: Judge) -> None:
        another = Judge(judge.instance, judge.run_id, HeartbeatMonitor())
        started(judge.instance, judge.run_id, elsewhere(judge.run_id, "first"))
        judge.looks(4)
        another.looks(4)
        assert judge.looks(1)
        assert another.looks(1)
        assert len(judge.instance.all_logs(judge.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) == 1

    def test_the_heartbeat_of_the_run_before_is_not_that_of_the_run_that_is_tried_again(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(str(uuid4()), "first"))
        assert not judge.looks(30)


class TestWithoutAHeartbeat:
    def test_a_run_of_an_accounts_job_is_ended_after_two_minutes(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, job_tags(an_account()))
        assert not judge.looks(8)
        assert judge.looks(1)

    def test_so_is_one_whose_machine_died_after_its_step(self, judge: Judge) -> None:
        started(judge.instance, judge.run_id, elsewhere(judge.run_id) | job_tags(an_account()))
        assert not judge.looks(8)
        assert judge.looks(1)

    def test_so_is_one_that_was_launched_without_the_tags_of_its_job(self, judge: Judge, run_id: str) -> None:
        ours = HeartbeatMonitor(jobs=job_names(an_account()))
        for location, ended in (("ours", True), ("theirs", False)):
            run = dg.DagsterRun(
                job_name=main_job(an_account()),
                run_id=str(uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                remote_job_origin=origin_in(location),
            )
            judge.instance.add_run(run)
            for look in range(10):
                ours.reap(judge.instance, 1_000.0 + look * BEAT, "ours")
            assert is_failed(judge.instance, run.run_id) == ended

    def test_a_run_of_another_job_is_left_alone_while_other_steps_than_ours_work(self, judge: Judge) -> None:
        untagged = Judge(judge.instance, str(uuid4()), judge.monitor, judge.now)
        started(judge.instance, judge.run_id, elsewhere(judge.run_id))
        started(untagged.instance, untagged.run_id, {})
        assert not judge.looks(30)
        assert not untagged.looks(1)

    def test_a_run_whose_step_waits_for_a_slot_of_its_pool_is_left_alone(self, tmp_path: Path, run_id: str) -> None:
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            pools = instance.event_log_storage
            pools.set_concurrency_slots("crm", 1)
            pools.claim_concurrency_slot("crm", str(uuid4()), "crm")
            pools.claim_concurrency_slot("crm", run_id, "crm")
            started(instance, run_id, job_tags(an_account()))
            assert not Judge(instance, run_id, HeartbeatMonitor()).looks(30)

    def test_each_job_of_an_account_says_that_it_is_one(self) -> None:
        account = an_account()
        defs = build_defs(account)
        for job in (main_job(account), "crm_frequent", "crm_daily", checks_job(account)):
            assert defs.resolve_job_def(job).run_tags.items() >= job_tags(account).items()


def origin_in(location: str) -> RemoteJobOrigin:
    """Return where a job of the code location `location` comes from."""
    server = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name=location)
    return RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), main_job(an_account()))


def new_beat(judge: Judge, before: str) -> Callable[[], str | None]:
    """Return what looks for another heartbeat than `before`."""

    def look() -> str | None:
        run = judge.instance.get_run_by_id(judge.run_id)
        process = process_of(run) if run else None
        return process.beat if process and process.beat != before else None

    return look
