"""Several machines around one history in Postgres, each in namespaces of its own, as `deploy/` has them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from crm_assets.project import ROOT
from crm_assets.sandbox.listings import LISTINGS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, environment
from crm_assets_tests.deployment import Deployment, answers, eventually
from crm_assets_tests.postgres import the_postgres
from crm_assets_tests.programs import find_program, free_port, running

BIN = Path(sys.executable).parent
DEPLOY = ROOT / "deploy"
UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
NEVER = "0 0 1 1 *"


@dataclass
class Machine:
    """A process that stands for a machine: whoever kills it kills all that runs there."""

    name: str
    process: "subprocess.Popen[bytes]"

    def dies(self) -> None:
        """Kill all of its processes at once."""
        os.killpg(self.process.pid, 9)
        self.process.wait()


@dataclass
class Cluster:
    """Machines around one history, one warehouse and one CRM.

    Args:
        directory: for the files of all machines.
        crm: the CRM of all accounts.
        accounts: their names.
        settings: further variables.
    """

    directory: Path
    crm: Sandbox
    accounts: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the file of accounts, and make the databases."""
        self.history, self.warehouse = the_postgres().database(), the_postgres().database()
        file = self.directory / "accounts.yaml"
        file.write_text(yaml.safe_dump({name: {"base_url": self.crm.base_url} for name in self.accounts}))
        logins = {f"SOURCES__{name}__{word}".upper(): "" for name in self.accounts for word in ("email", "api_key")}
        logins = {name: EMAIL if name.endswith("EMAIL") else API_KEY for name in logins}
        self.environment = environment(
            **logins,
            ACCOUNTS=str(file),
            AUTOMATION__FREQUENT_CRON=NEVER,
            AUTOMATION__DAILY_CRON=NEVER,
            WAREHOUSE__DESTINATION="postgres",
            DESTINATION__POSTGRES__CREDENTIALS=self.warehouse,
            DAGSTER_POSTGRES_URL=self.history.replace("postgresql://", "postgresql+psycopg2://"),
            DLT_PROJECT_DIR=str(ROOT),
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",  # dagster-celery calls celery by its name
            **self.settings,
        )

    def home(self, name: str, instance: str, **changes: Any) -> dict[str, str]:
        """Return the environment of the machine `name`, with folders of its own.

        Args:
            name: of the machine.
            instance: the file of `deploy/` that becomes its `dagster.yaml`.
            changes: sections of that file that are otherwise here.
        """
        home = self.directory / name
        home.mkdir()
        settings = yaml.safe_load((DEPLOY / instance).read_text())
        for section, values in changes.items():
            settings[section] = {**settings.get(section, {}), **values}
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        return {**self.environment, "DAGSTER_HOME": str(home), "DLT_LOCAL_DIR": str(home), "HOME": str(home)}

    @contextmanager
    def machine(self, name: str, command: Sequence[object], env: Mapping[str, str]) -> Iterator[Machine]:
        """Run `command` on a machine of its own while the block lasts."""
        with (self.directory / f"{name}.log").open("wb") as log:
            host = [*_of_its_own(name), *map(str, command)]
            with running(host, env=dict(env), stdout=log, stderr=log, start_new_session=True) as process:
                machine = Machine(name, process)
                try:
                    yield machine
                finally:
                    if process.poll() is None:
                        machine.dies()

    @contextmanager
    def controlled(self, workspace: Any, env: Mapping[str, str]) -> Iterator[Deployment]:
        """Run webserver and daemon, and all recovery sensors, while the block lasts."""
        file, port = self.directory / "workspace.yaml", free_port()
        file.write_text(yaml.safe_dump({"load_from": workspace}))
        web = [BIN / "dagster-webserver", "-w", file, "-h", "127.0.0.1", "-p", str(port)]
        with ExitStack() as stack:
            stack.enter_context(self.machine("webserver", web, env))
            deployment = Deployment(f"http://127.0.0.1:{port}", Path(env["DAGSTER_HOME"]))
            eventually(lambda: answers(deployment))
            stack.enter_context(self.machine("daemon", [BIN / "dagster-daemon", "run", "-w", file], env))
            yield deployment

    def unequal(self) -> list[str]:
        """Return the tables that do not have what the CRM has."""
        found = []
        for account in self.accounts:
            for resource in LISTINGS:
                wanted = self.crm.crm.count(resource)
                there = the_postgres().execute(
                    f"SELECT to_regclass('crm_{account}.{resource}') IS NOT NULL", self.warehouse
                )[0][0]
                counted = f"SELECT count(DISTINCT id), count(*) FROM crm_{account}.{resource}"
                rows = the_postgres().execute(counted, self.warehouse)[0] if there else (0, 0)
                if rows != (wanted, wanted):
                    found.append(f"{account}.{resource}: {rows}, not {wanted}")
        return found


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis on loopback while the block lasts, and yield its address."""
    port = free_port()
    command = [find_program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running(command, stdout=subprocess.DEVNULL):
        yield f"redis://127.0.0.1:{port}/0"


def launch(deployment: Deployment, location: str, job: str) -> str:
    """Launch `job` as the button in the UI does, and return the id of the run."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": location, "jobName": job}
    done = deployment.ask(
        "mutation($p: ExecutionParams!) { launchRun(executionParams: $p)"
        " { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        p={"selector": selector, "runConfigData": {}},
    )
    return str(done["launchRun"]["run"]["runId"])


def recover(deployment: Deployment, location: str, account: str) -> None:
    """Switch on the recovery sensor of `account`."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": location}
    done = deployment.ask(
        "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }",
        s={**selector, "sensorName": f"{account}_recovery"},
    )
    assert done["startSensor"]["__typename"] == "Sensor", done


def statuses(deployment: Deployment) -> dict[str, list[str]]:
    """Return the states of all runs, by job, the latest first."""
    found: dict[str, list[str]] = {}
    query = "{ runsOrError(limit: 500) { ... on Runs { results { jobName status } } } }"
    for run in deployment.ask(query)["runsOrError"]["results"]:
        found.setdefault(run["jobName"], []).append(run["status"])
    return found


@cache
def _has_namespaces() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], check=False).returncode == 0  # noqa: S607


def _of_its_own(name: str) -> list[str]:
    """Return what gives a command a host name and process numbers of its own, where this system allows it."""
    if not _has_namespaces():
        return []
    alone = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]
    return [*alone, "sh", "-c", 'hostname "$0"; exec "$@"', name]
