"""A sandbox CRM, a warehouse of its own for each test, and runs of the assets in this process."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy, copytree
from typing import Any, cast

import pytest
from pydantic import create_model
from typer.testing import CliRunner

from crm_assets.project import DAGSTER_HOME, ROOT, configure_dlt

configure_dlt()

import dagster as dg  # noqa: E402 - dlt must find the project configured

from crm_assets.account import Account, resolve_account  # noqa: E402
from crm_assets.apis.api import Resource, read_api  # noqa: E402
from crm_assets.apis.files import find_config  # noqa: E402
from crm_assets.apis.references import Reference  # noqa: E402
from crm_assets.cli.main import app  # noqa: E402
from crm_assets.extract.connection import Connection  # noqa: E402
from crm_assets.models.record import Record  # noqa: E402
from crm_assets.orchestration import build_defs  # noqa: E402
from crm_assets.orchestration.keys import asset_key, main_job, warehouse_resource  # noqa: E402
from crm_assets.project import data_directory  # noqa: E402
from crm_assets.sandbox.listings import LISTINGS  # noqa: E402
from crm_assets.sandbox.server import Sandbox  # noqa: E402
from crm_assets_tests.warehouses import WAREHOUSES, AnyWarehouse, DuckDbFile, a_warehouse  # noqa: E402

EMAIL, API_KEY = "ünï@example.com", "s3cr:t@with/odd+signs"
COMMAND = str(Path(sys.executable).parent / "crm-assets")
HARDLY_ANY = 0.01
"""Seconds; instead of a pause that only costs time here."""
SMALL = dict.fromkeys(LISTINGS, 10) | {
    "contacts": 250,
    "companies": 30,
    "deals": 120,
    "notes": 20,
    "tasks": 20,
    "events": 10,
    "milestone": 3,
    "campaigns": 5,
    "documents": 10,
    "ticket_filters": 4,
    "tickets": 20,
}


@pytest.hookimpl(trylast=True)  # when those that `-m` leaves out are gone: they would shift the shares
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long tests at the head of each worker's share, so that none begins when all others are done."""
    workers = config.workerinput["workercount"] if hasattr(config, "workerinput") else 1
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if item not in long]
    share = -(-len(others) // workers)
    shares = [long[one::workers] + others[one * share : (one + 1) * share] for one in range(workers)]
    items[:] = [item for one in shares for item in one]


def pytest_collection_finish() -> None:
    """Keep what the imports made out of each later garbage collection: none of it will be garbage."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let it be collected in the end, or else DuckDB's binding complains of leaks."""
    gc.unfreeze()


def some(*cases: Any, always: int = 1) -> list[Any]:
    """Return `cases`; those behind the first ones are for `make campaign`: each takes several runs."""
    rest = [one if isinstance(one, tuple) else (one,) for one in cases[always:]]
    return [*cases[:always], *(pytest.param(*one, marks=pytest.mark.thorough) for one in rest)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small CRM with a login of its own."""
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as running:
        yield running


@pytest.fixture
def connection(sandbox: Sandbox) -> Connection:
    """The login of the sandbox."""
    return connection_to(sandbox.base_url)


def connection_to(base_url: str, email: str = EMAIL, api_key: str = API_KEY) -> Connection:
    """Return a connection with a CRM that speaks v1."""
    login = {Reference("dlt.secrets", "email"): email, Reference("dlt.secrets", "api_key"): api_key}
    return Connection(base_url, login, V1["client"]["auth"])


def impatient(config: Any) -> Any:
    """Return `config` with retries that hardly wait."""
    defaults = config.get("resource_defaults", {})
    endpoint = {**defaults.get("endpoint", {}), "error_handler": {"backoff_factor": HARDLY_ANY}}
    return {**config, "resource_defaults": {**defaults, "endpoint": endpoint}}


def unlimited(config: Any) -> Any:
    """Return `config` without a limit of requests, which only costs time here."""
    client = {word: value for word, value in config["client"].items() if word != "requests_per_second"}
    return {**config, "client": client}


WRITER = ThreadPoolExecutor(1)
"""What converts and writes the records of a listing that a test reads by itself."""
V1: Any = find_config("v1", ROOT)[0]
"""The configuration of the API v1."""
IMPATIENT = impatient(V1)
"""The API v1 with retries that hardly wait."""
RESOURCES: dict[str, Resource] = {resource.name: resource for resource in read_api(IMPATIENT).resources}
"""Its resources by name."""


def an_account(name: str = "crm", **given: Any) -> Account:
    """Return the account `name` as the settings say, with retries that hardly wait."""
    account = resolve_account(name, **{"api": IMPATIENT, "fallback_dir": data_directory(), **given})
    return replace(account, retry_pause=HARDLY_ANY)


def declaring(account: Account, resource: str, **fields: Any) -> Account:
    """Return `account` with `fields` declared in the model of `resource`, as a person does."""

    model = cast(type[Record], create_model("Changed", __base__=account.resource(resource).model, **fields))
    resources = (replace(one, model=model) if one.name == resource else one for one in account.resources)
    return replace(account, resources=tuple(resources))


Warehouse = DuckDbFile
"""What the fixture `warehouse` is in a test that is not marked `each_warehouse`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `each_warehouse` with each of them; DuckDB's suffices where the mark says `thorough`."""
    mark = metafunc.definition.get_closest_marker("each_warehouse")
    if mark and "warehouse" in metafunc.fixturenames:
        thorough = [pytest.mark.thorough] if mark.kwargs.get("thorough") else []
        cases = [pytest.param(name, marks=[] if name == "duckdb" else thorough) for name in WAREHOUSES]
        metafunc.parametrize("warehouse", cases, indirect=True)


@pytest.fixture
def warehouse(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AnyWarehouse:
    """A warehouse of this test, and settings that point the project at it and at the sandbox.

    It is a DuckDB file, unless the test is marked `each_warehouse`.
    """
    made = a_warehouse(getattr(request, "param", "duckdb"), tmp_path)
    configure(made, tmp_path, sandbox, monkeypatch)
    return made


def warehouse_in(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> DuckDbFile:
    """Point the settings at the sandbox and at a DuckDB file in `tmp_path`."""
    made = DuckDbFile(tmp_path / "data" / "warehouse.duckdb")
    configure(made, tmp_path, sandbox, monkeypatch)
    return made


def configure(warehouse: AnyWarehouse, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the settings at the sandbox and at `warehouse`."""
    login = {
        "SOURCES__CRM__BASE_URL": sandbox.base_url,
        "SOURCES__CRM__EMAIL": EMAIL,
        "SOURCES__CRM__API_KEY": API_KEY,
    }
    for name, value in {"DLT_LOCAL_DIR": str(tmp_path), **login, **warehouse.environment}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of this test, in memory: half the time of one on disk."""
    with dg.DagsterInstance.ephemeral() as temporary:
        yield temporary


@contextmanager
def history_in(home: Path | str) -> Iterator[dg.DagsterInstance]:
    """Open the history of runs of another process."""
    with pytest.MonkeyPatch.context() as inside:
        inside.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as opened:
            yield opened


Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def materialize(warehouse: Warehouse, instance: dg.DagsterInstance) -> Materialize:
    """Run the assets of the given resources, all for none, against the sandbox; retries hardly wait."""
    return partial(run_assets, instance)


def run_assets(
    instance: dg.DagsterInstance,
    resources: Sequence[str] = (),
    *,
    allow_deletes: bool = False,
    account: Account | None = None,
) -> dg.ExecuteInProcessResult:
    """Run the assets of `resources`, all for none, of `account`, the one that the settings say for None."""
    account = account or an_account()
    return (
        build_defs(account)
        .resolve_job_def(main_job(account))
        .execute_in_process(
            instance=instance,
            asset_selection=[asset_key(account, name) for name in resources] or None,
            raise_on_error=False,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "resources": {warehouse_resource(account): {"config": {"allow_deletes": allow_deletes}}},
            },
        )
    )


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of runs in which there is none yet: to make one takes longer than a load."""
    home = tmp_path_factory.mktemp("home")
    copy(DAGSTER_HOME / "dagster.yaml", home)
    with history_in(home):
        return home


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path, new_home: Path) -> dict[str, str]:
    """The environment of a person whose CRM is the sandbox of this test."""
    copytree(new_home, tmp_path / "home")
    return environment(
        SOURCES__CRM__BASE_URL=sandbox.base_url,
        SOURCES__CRM__EMAIL=EMAIL,
        SOURCES__CRM__API_KEY=API_KEY,
        DLT_PROJECT_DIR=str(ROOT),
        DLT_LOCAL_DIR=str(tmp_path),
        DAGSTER_HOME=str(tmp_path / "home"),
    )


@pytest.fixture
def crm_assets(settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `crm-assets` in this process, from another directory than the project's."""

    def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as inside:
            for name in os.environ.keys() - settings.keys():
                inside.delenv(name)
            for name, value in (settings | changes).items():
                inside.setenv(name, value)
            inside.chdir(tmp_path)
            done = CliRunner().invoke(app, arguments)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Return what the failed step says."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the project's settings, with `changes`."""
    ours = ("SOURCES__", "WAREHOUSE__", "DESTINATION__", "DAGSTER_", "DLT_", "SANDBOX__")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | changes


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """Let another process have the DuckDB file open, and yield its id."""
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.stdin.close()
