"""What each resource of each API has to do, shown by what its table is after some runs.

An API takes part as an `ApiUnderTest`; `contract_apis.py` has them. The resources of an API share a server, a warehouse
and the runs of a scenario; `test_contract.py` looks at them one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from crm_assets.account import Account
from crm_assets.models.columns import DELETED_AT, MISSING_SINCE
from crm_assets_tests.conftest import run_assets
from crm_assets_tests.runner import Run
from crm_assets_tests.warehouses import AnyWarehouse

Key = tuple[Any, ...]
Row = dict[str, Any]
Table = dict[Key, Row]
"""Rows by the values of the primary key. A column of NULLs alone may be missing."""


class Served(ABC):
    """An API on loopback, while it runs."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The environment in which `account` finds it."""

    @abstractmethod
    def account(self, directory: Path) -> Callable[[], Account]:
        """Return what returns the account, here or in another process; retries hardly wait.

        Args:
            directory: for files that the account needs.
        """

    @abstractmethod
    def table(self, resource: str) -> Table:
        """Return what the table has to hold now: what the API has."""

    @abstractmethod
    def create(self, resource: str) -> None:
        """Add a record."""

    @abstractmethod
    def change(self, resource: str, key: Key) -> None:
        """Change a text of a record."""

    @abstractmethod
    def empty(self, resource: str, key: Key) -> None:
        """Set every field of a record to null but those of its key."""

    @abstractmethod
    def recast(self, resource: str, key: Key) -> None:
        """Give every field of a record another value that its column can hold, of another kind where JSON has one."""

    @abstractmethod
    def delete(self, resource: str, key: Key) -> None:
        """Take a record away."""

    @abstractmethod
    def fail(self, resource: str) -> None:
        """Fail a page of the listing until `heal`, not the first one if there are several."""

    @abstractmethod
    def hold(self) -> Callable[[], None]:
        """Let a listing hang in the middle until `heal`; return what waits until one does."""

    @abstractmethod
    def heal(self) -> None:
        """End what `fail` and `hold` began."""


@dataclass(frozen=True)
class ApiUnderTest:
    """An API, and what the suite must know of it."""

    name: str
    keys: Mapping[str, tuple[str, ...]]
    """The columns of the primary key, by resource, in the order of the API."""
    serve: Callable[[], AbstractContextManager[Served]]
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The parents of a resource that is listed once for each record of others."""
    fixed: frozenset[str] = frozenset()
    """Resources of which no record comes or goes."""

    def __str__(self) -> str:
        return self.name

    def without(self, failing: Sequence[str]) -> list[str]:
        """Return the resources that load while `failing` cannot be read."""
        return [name for name in self.keys if not {name, *self.parents.get(name, ())} & set(failing)]

    @property
    def halves(self) -> tuple[list[str], list[str]]:
        """The resources in two halves, no child with its parent."""
        others = [name for name in self.keys if name not in {*self.parents, *chain(*self.parents.values())}]
        first = [*self.parents, *others[::2]]
        return first, [name for name in self.keys if name not in first]


@dataclass(frozen=True)
class Observed:
    """The tables after a run."""

    landed: Mapping[str, Mapping[str, int]]
    """The counts of each resource that landed: those of its materialization."""
    problem: str
    """Why the run failed; empty if it did not."""
    api: Mapping[str, Table]
    """What the API held."""
    tables: Mapping[str, list[Row]]
    """The rows, of dlt's columns only `_dlt_load_id`."""
    types: Mapping[str, dict[str, str]]
    """The types of the columns."""
    keys: Mapping[str, tuple[str, ...]]

    def rows(self, resource: str) -> Table:
        """Return the rows by key, those of records that are missing included."""
        found = {tuple(row[name] for name in self.keys[resource]): row for row in self.tables[resource]}
        assert len(found) == len(self.tables[resource]), f"{resource} has a key twice"
        return found

    def living(self, resource: str) -> Table:
        """Return the rows of records that the listing had."""
        return {
            key: row
            for key, row in self.rows(resource).items()
            if row.get(DELETED_AT) is None and row.get(MISSING_SINCE) is None
        }

    def count(self, resource: str, name: str) -> int:
        """Return a count of the materialization; it says none that is 0."""
        return self.landed[resource].get(name, 0)


def differences(wanted: Table, found: Table) -> list[str]:
    """Return in what the rows `found` differ from those that are `wanted`, in the columns of the latter."""
    return [
        *(f"{key} is missing" for key in wanted.keys() - found.keys()),
        *(f"{key} is too many" for key in found.keys() - wanted.keys()),
        *(
            f"{key}: {column} is {found[key].get(column)!r}, not {value!r}"
            for key in wanted.keys() & found.keys()
            for column, value in wanted[key].items()
            if not _is_same(value, found[key].get(column))
        ),
    ]


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class Stage:
    """An API that runs, and a warehouse for it.

    Attributes:
        served: the API.
        directory: where all is that a run writes.
    """

    def __init__(self, api: ApiUnderTest, served: Served, warehouse: AnyWarehouse, directory: Path) -> None:
        self.api = api
        self.served = served
        self.directory = directory
        self._warehouse = warehouse
        self.environment = {**served.settings, **warehouse.environment, "DLT_LOCAL_DIR": str(directory)}
        self.account = served.account(directory)

    def run(self) -> Observed:
        """Load every resource, and look at the tables."""
        with self._in_environment(), dg.DagsterInstance.ephemeral() as instance:
            result = run_assets(instance, account=self.account())
        materializations = [
            event.step_materialization_data.materialization for event in result.get_asset_materialization_events()
        ]
        landed = {
            one.asset_key.path[-1]: {
                name: value.value for name, value in one.metadata.items() if isinstance(value.value, int)
            }
            for one in materializations
        }
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return self.observe(landed, "\n".join(map(_told, failures)))

    def start(self) -> Run:
        """Load every resource in another process."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return Run(home, self.environment, list(self.api.keys), self.account)

    def observe(self, landed: Mapping[str, Mapping[str, int]] | None = None, problem: str = "") -> Observed:
        """Look at the tables, after a run that said so much of what landed and of its problem."""
        with self._in_environment():
            dataset = self.account().dataset
        tables = {resource: self._warehouse.rows(resource, dataset) for resource in self.api.keys}
        types = {resource: self._warehouse.columns(resource, dataset) for resource in self.api.keys}
        api = {resource: self.served.table(resource) for resource in self.api.keys}
        return Observed(landed or {}, problem, api, tables, types, self.api.keys)

    @contextmanager
    def _in_environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as inside:
            for name, value in self.environment.items():
                inside.setenv(name, value)
            yield

    def edit(self) -> None:
        """Change a record of each resource, take one away and add one."""
        for resource in self.api.keys:
            keys = list(self.served.table(resource))
            self.served.change(resource, keys[len(keys) // 2])
            if resource not in self.api.fixed:
                self.served.delete(resource, keys[-1])
                self.served.create(resource)


def _told(failure: dg.StepFailureData) -> str:
    """Return what a failed step says, or the error that nobody put into words."""
    stated = failure.user_failure_data
    return str(stated.description) if stated else failure.error_display_string


@contextmanager
def staged(api: ApiUnderTest, warehouse: AnyWarehouse, directory: Path) -> Iterator[Stage]:
    """Serve `api`, with `warehouse`, which is empty, while the block lasts."""
    with api.serve() as served:
        yield Stage(api, served, warehouse, directory)


@dataclass(frozen=True)
class Life:
    """Four runs: the first, one more, one after records changed, one after they got values of other kinds."""

    first: Observed
    second: Observed
    third: Observed
    fourth: Observed


def live(api: ApiUnderTest, warehouse: AnyWarehouse, directory: Path) -> Life:
    """Load an API again and again, while its records come, change and go."""
    with staged(api, warehouse, directory) as stage:
        first, second = stage.run(), stage.run()
        stage.edit()
        third = stage.run()
        for resource in api.keys:
            keys = list(stage.served.table(resource))
            stage.served.recast(resource, keys[-1])
            if len(keys) > 1:
                stage.served.empty(resource, keys[0])
        return Life(first, second, third, stage.run())


@dataclass(frozen=True)
class Failed:
    """A run in which some listings broke off."""

    before: Observed
    after: Observed
    failed: Sequence[str]
    """What broke off, or has a parent that did."""


@dataclass(frozen=True)
class Killed:
    """A run that was killed, and the next one."""

    before: Observed
    killed: Observed
    after: Observed


@dataclass(frozen=True)
class Trouble:
    """Runs in which each listing breaks off once, one that is killed while it reads, one that is while it loads."""

    failed: Sequence[Failed]
    reading: Killed
    loading: Killed


def trouble(api: ApiUnderTest, warehouse: AnyWarehouse, directory: Path) -> Trouble:
    """Load an API while its listings break off and while runs are killed; records come, change and go before each."""
    with staged(api, warehouse, directory) as stage:
        latest, failed = stage.run(), []
        for half in api.halves:
            failed.append(_fail(stage, latest, half))
            latest = failed[-1].after
        # A listing that broke off resumes with what it had read by then: one run brings that, the next what changed.
        stage.run()
        reading = _kill(stage, stage.run(), _kill_while_reading)
        return Trouble(failed, reading, _kill(stage, reading.after, _kill_while_loading))


def _fail(stage: Stage, before: Observed, failing: Sequence[str]) -> Failed:
    stage.edit()
    for resource in failing:
        stage.served.fail(resource)
    after = stage.run()
    stage.served.heal()
    loads = stage.api.without(failing)
    return Failed(before, after, [name for name in stage.api.keys if name not in loads])


def _kill(stage: Stage, before: Observed, kill: Callable[[Stage], None]) -> Killed:
    stage.edit()
    kill(stage)
    return Killed(before, stage.observe(), stage.run())


def _kill_while_reading(stage: Stage) -> None:
    wait = stage.served.hold()
    run = stage.start()
    wait()
    run.kill()
    stage.served.heal()


def _kill_while_loading(stage: Stage) -> None:
    run = stage.start()
    while not next(stage.directory.glob("data/runs/*/dlt/*/load/normalized/*/started_jobs/*"), None):
        assert run.is_alive()  # the file system has no event to wait for
    run.kill()
