"""Dagster's webserver and daemon, as they are deployed, around an instance of one test."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from threading import Event
from time import monotonic
from typing import Any, TypeVar

import requests

from crm_assets.orchestration.heartbeat import process_of
from crm_assets.project import ROOT
from crm_assets_tests.conftest import history_in

T = TypeVar("T")
_PATIENCE = 120.0
_BIN = Path(sys.executable).parent
_LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "crm_assets"}


def eventually(look: Callable[[], T | None], patience: float = _PATIENCE, every: float = 0.5) -> T:
    """Return the first thing that `look` finds; other processes make it, and tell nobody when."""
    deadline = monotonic() + patience
    while monotonic() < deadline:
        if found := look():
            return found
        Event().wait(every)
    raise AssertionError(f"not seen within {patience:.0f} s")


@dataclass(frozen=True)
class Deployment:
    """A running webserver and daemon, spoken to through GraphQL."""

    url: str
    home: Path
    """Its `DAGSTER_HOME`."""

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data that GraphQL answers."""
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def switch_on(self, sensor: str) -> None:
        """Start a sensor, as the switch in the UI does."""
        done = self.ask(
            "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }",
            s={**_LOCATION, "sensorName": sensor},
        )
        assert done["startSensor"]["__typename"] == "Sensor"

    def launch(self, job: str, resources: list[str]) -> str:
        """Launch a run of `job` for `resources` and return its id, as the button in the UI does."""
        selector = {**_LOCATION, "jobName": job, "assetSelection": [{"path": ["crm", name]} for name in resources]}
        done = self.ask(
            "mutation($p: ExecutionParams!) { launchRun(executionParams: $p)"
            " { __typename ... on LaunchRunSuccess { run { runId } } } }",
            p={"selector": selector, "runConfigData": {}},
        )
        return str(done["launchRun"]["run"]["runId"])

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs, the latest first: runId, status, and the assets that they are about."""
        found: list[dict[str, Any]] = self.ask(
            "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status assetSelection { path } } } } }"
        )["runsOrError"]["results"]
        for run in found:
            run["resources"] = {key["path"][-1] for key in run.pop("assetSelection") or []}
        return found

    def ended(self, known: set[str]) -> dict[str, Any]:
        """Wait for a run that is not in `known` to end, and return it."""

        def look() -> dict[str, Any] | None:
            return next(
                (run for run in self.runs() if run["runId"] not in known and run["status"] in ("SUCCESS", "FAILURE")),
                None,
            )

        return eventually(look)

    def process_of(self, run_id: str) -> int | None:
        """Return the number of the process that executes a run; None if it has not begun."""
        # GraphQL does not say this tag: it is hidden from the UI.
        with history_in(self.home) as instance:
            run = instance.get_run_by_id(run_id)
        process = process_of(run) if run else None
        return process.pid if process else None

    def materialized(self, run_id: str) -> set[str]:
        """Return the resources that a run has materialized."""
        events = self.ask(
            "query($id: ID!) { runOrError(runId: $id) { ... on Run { assetMaterializations { assetKey { path } } } } }",
            id=run_id,
        )["runOrError"]["assetMaterializations"]
        return {event["assetKey"]["path"][-1] for event in events}


@contextmanager
def deployed(environment: dict[str, str], directory: Path) -> Iterator[Deployment]:
    """Run webserver and daemon from `workspace.yaml`, with the shipped `dagster.yaml`, while the block lasts."""
    home = Path(environment["DAGSTER_HOME"])
    shutil.copy(ROOT / ".dagster" / "dagster.yaml", home)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workspace = str(ROOT / "workspace.yaml")
    # One after the other: two processes that open a new instance at once race in Dagster's own set-up of its databases.
    with ExitStack() as stack:
        web: list[str | Path] = [_BIN / "dagster-webserver", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
        stack.enter_context(_process(web, environment, directory / "webserver.log"))
        deployment = Deployment(f"http://127.0.0.1:{port}", home)
        eventually(lambda: answers(deployment))
        stack.enter_context(
            _process([_BIN / "dagster-daemon", "run", "-w", workspace], environment, directory / "daemon.log")
        )
        yield deployment


@contextmanager
def _process(command: list[str | Path], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def answers(deployment: Deployment) -> bool:
    """Return whether the webserver is up."""
    try:
        return "version" in deployment.ask("{ version }")
    except requests.ConnectionError:
        return False
