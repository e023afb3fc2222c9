"""Twenty accounts on several machines, of which one dies in the middle; fifty, of which two are ill."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import psutil
import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL
from crm_assets_tests.deploy.cluster import BIN, DEPLOY, UNFINISHED, Cluster, launch, recover, redis, statuses
from crm_assets_tests.deployment import Deployment, eventually
from crm_assets_tests.programs import free_port

pytestmark = [pytest.mark.long, pytest.mark.thorough]
PATIENCE = 540.0
"""Seconds; all works on two cores."""
TWENTY = [f"a{number:02}" for number in range(20)]
FEW = {name: min(count, 12) for name, count in SMALL.items()}


@pytest.fixture
def crm() -> Iterator[Sandbox]:
    """The CRM of all accounts."""
    with Sandbox(FEW, email=EMAIL, api_key=API_KEY) as running:
        yield running


def worker(places: int) -> list[object]:
    """Return the command of a Celery worker."""
    start = [BIN / "dagster-celery", "worker", "start", "-A", "dagster_celery.app", "-y", DEPLOY / "celery.yaml"]
    return [*start, "--", "--concurrency", str(places)]


def some_have_ended(deployment: Deployment, count: int) -> bool:
    """Return whether so many runs have ended well, and others work."""
    found = [status for runs in statuses(deployment).values() for status in runs]
    return found.count("SUCCESS") >= count and "STARTED" in found


def all_have_ended(deployment: Deployment, jobs: int) -> bool:
    """Return whether the last run of each of so many jobs has ended well, and no other works."""
    found = statuses(deployment)
    busy = any(status in UNFINISHED for runs in found.values() for status in runs)
    return len(found) == jobs and not busy and all("SUCCESS" in runs for runs in found.values())


def test_a_celery_worker_dies_and_the_other_finishes_what_it_had(crm: Sandbox, tmp_path: Path) -> None:
    with redis() as broker:
        cluster = Cluster(tmp_path, crm, TWENTY, {"DAGSTER_CELERY_BROKER": broker})
        instance, location = "dagster-celery.yaml", "crm_assets"
        workspace = [{"python_module": {"module_name": "crm_assets.definitions", "location_name": location}}]
        with ExitStack() as stack:
            deployment = stack.enter_context(cluster.controlled(workspace, cluster.home("control", instance)))
            first, _ = (
                stack.enter_context(cluster.machine(name, worker(2), cluster.home(name, instance)))
                for name in ("worker-1", "worker-2")
            )
            for account in TWENTY:
                recover(deployment, location, account)
                launch(deployment, location, f"{account}_all")
            eventually(lambda: some_have_ended(deployment, 4), PATIENCE)
            first.dies()
            eventually(lambda: not cluster.unequal() and all_have_ended(deployment, len(TWENTY)), PATIENCE, every=2.0)


def test_a_code_server_dies_and_when_it_is_back_all_is_finished(crm: Sandbox, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, crm, TWENTY)
    instance, locations = "dagster.yaml", ["crm_assets_1_of_2", "crm_assets_2_of_2"]
    ports = [free_port() for _ in locations]
    workspace = [
        {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": location}}
        for port, location in zip(ports, locations, strict=True)
    ]
    limits = {"concurrency": {"runs": {"max_concurrent_runs": 4}}}
    servers = {
        location: (
            [BIN / "dagster", "api", "grpc", "-m", "crm_assets.definitions", "-h", "127.0.0.1", "-p", str(port)],
            {**cluster.home(f"loader-{number}", instance), "SLICE": f"{number}/2"},
        )
        for number, (port, location) in enumerate(zip(ports, locations, strict=True), 1)
    }
    with ExitStack() as stack:
        first, _ = (
            stack.enter_context(cluster.machine(name, command, env)) for name, (command, env) in servers.items()
        )
        env = cluster.home("control", instance, **limits)
        deployment = stack.enter_context(cluster.controlled(workspace, env))
        places = eventually(lambda: places_of(deployment, locations))
        assert sorted(places) == TWENTY
        for account, location in places.items():
            recover(deployment, location, account)
            launch(deployment, location, f"{account}_all")
        eventually(lambda: some_have_ended(deployment, 4), PATIENCE)
        first.dies()
        command, env = servers[locations[0]]
        stack.enter_context(cluster.machine("loader-1 again", command, env))
        eventually(lambda: not cluster.unequal() and all_have_ended(deployment, len(TWENTY)), PATIENCE, every=2.0)


def places_of(deployment: Deployment, locations: list[str]) -> dict[str, str] | None:
    """Return in which code location each account is, when all are loaded."""
    query = "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename"
    query += " ... on RepositoryLocation { repositories { jobs { name } } } } } } } }"
    entries = deployment.ask(query)["workspaceOrError"]["locationEntries"]
    loaded = {
        entry["name"]: [job["name"] for one in entry["locationOrLoadError"]["repositories"] for job in one["jobs"]]
        for entry in entries
        if entry["locationOrLoadError"] and entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"
    }
    if loaded.keys() != set(locations):
        return None
    return {job.removesuffix("_all"): name for name, jobs in loaded.items() for job in jobs if job.endswith("_all")}


def test_fifty_accounts_load_and_the_two_that_are_ill_delay_nobody(
    crm: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = [f"b{number:02}" for number in range(50)]
    with redis() as broker, Sandbox(FEW, email=EMAIL, api_key=API_KEY) as hanging:
        cluster = Cluster(tmp_path, crm, accounts, {"DAGSTER_CELERY_BROKER": broker})
        hanging.fault("*=hang")
        cluster.environment |= {
            "SOURCES__B07__API_KEY": "wrong",
            "SOURCES__B11__BASE_URL": hanging.base_url,
        }
        well = [one for one in accounts if one not in ("b07", "b11")]
        instance, location = "dagster-celery.yaml", "crm_assets"
        workspace = [{"python_module": {"module_name": "crm_assets.definitions", "location_name": location}}]
        with ExitStack() as stack:
            deployment = stack.enter_context(cluster.controlled(workspace, cluster.home("control", instance)))
            for number in range(4):
                env = cluster.home(f"worker-{number}", instance)
                stack.enter_context(cluster.machine(f"worker-{number}", worker(1), env))
            begun, peak = monotonic(), 0
            for account in accounts:
                launch(deployment, location, f"{account}_all")

            def done() -> bool:
                nonlocal peak
                peak = max(peak, memory_below())
                found = statuses(deployment)
                return all("SUCCESS" in found.get(f"{account}_all", ()) for account in well)

            eventually(done, 1_200.0, every=1.0)
            seconds = monotonic() - begun
            found = statuses(deployment)
            assert found["b07_all"][0] == "FAILURE"
            assert found["b11_all"][0] in UNFINISHED
            hanging.clear_faults()
            cluster.accounts = well
            assert not cluster.unequal()
    with capsys.disabled():  # the figures are for the reader
        print(f"\n50 accounts on 4 workers: {seconds:.0f} s, {peak / 1e6:.0f} MB in all processes together")


def memory_below() -> int:
    """Return the memory of all processes that this one has started, in bytes, what they share counted once each."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total
