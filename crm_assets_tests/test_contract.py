"""The contract: what each resource of each API has to do, whatever its pages, its login and its parent are like."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock
from pytest import FixtureRequest, MarkDecorator, TempPathFactory

from crm_assets.models.columns import DELETED_AT, LOAD_ID
from crm_assets_tests import contract
from crm_assets_tests.contract import ApiUnderTest, Life, Row, Table, Trouble, differences
from crm_assets_tests.contract_apis import AGILECRM, APIS, SHOP, V1
from crm_assets_tests.warehouses import WAREHOUSES, AnyWarehouse, a_warehouse

T = TypeVar("T")


def of_each_resource(scenario: str, *, growing: bool = False) -> MarkDecorator:
    """Run a test for each resource of each API, with the scenario that they share.

    Args:
        scenario: name of the fixture.
        growing: leave out resources of which no record comes or goes.
    """
    thorough = [V1, AGILECRM]  # what all other tests of loads are about

    def is_thorough(api: ApiUnderTest, warehouse: str) -> bool:
        # test_kill.py and test_resume.py break runs off, too; a lake is written by way of a DuckDB file.
        return api in thorough or warehouse == "filesystem" or scenario == "trouble"

    cases = [
        pytest.param(
            (api, warehouse),
            resource,
            id=f"{api}-{warehouse}-{resource}",
            marks=[pytest.mark.thorough] if is_thorough(api, warehouse) else [],
        )
        for api in APIS
        for warehouse in WAREHOUSES
        if warehouse == "duckdb" or api is SHOP
        for resource in api.keys
        if not (growing and resource in api.fixed)
    ]
    return pytest.mark.parametrize((scenario, "resource"), cases, indirect=[scenario], scope="module")


@pytest.fixture(scope="module")
def life(request: FixtureRequest, tmp_path_factory: TempPathFactory) -> Life:
    """Runs while records come, change and go."""
    return _once("life", contract.live, request, tmp_path_factory)


@pytest.fixture(scope="module")
def trouble(request: FixtureRequest, tmp_path_factory: TempPathFactory) -> Trouble:
    """Runs that break off or are killed, and the next ones."""
    return _once("trouble", contract.trouble, request, tmp_path_factory)


def _once(
    name: str,
    play: Callable[[ApiUnderTest, AnyWarehouse, Path], T],
    request: FixtureRequest,
    directories: TempPathFactory,
) -> T:
    """Return what `play` returns. Of several processes that share the tests, one plays and the others wait for it."""
    api, kind = request.param
    own = directories.getbasetemp()
    file = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / f"{name}-{api}-{kind}.pickle"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            directory = directories.mktemp(name)
            file.write_bytes(pickle.dumps(play(api, a_warehouse(kind, directory), directory)))
        played: T = pickle.loads(file.read_bytes())  # noqa: S301 - written a moment ago by one of us
    return played


def without_load(table: Table) -> dict[tuple[object, ...], Row]:
    """Return the rows without what says which load brought them."""
    return {key: {name: value for name, value in row.items() if name != LOAD_ID} for key, row in table.items()}


@of_each_resource("life")
def test_each_record_is_a_row_once(life: Life, resource: str) -> None:
    assert not life.first.problem
    assert life.first.api[resource]
    assert not differences(life.first.api[resource], life.first.rows(resource))


@of_each_resource("life")
def test_a_second_run_changes_nothing(life: Life, resource: str) -> None:
    counts = [life.second.count(resource, name) for name in ("rows_new", "rows_changed", "rows_deleted")]
    assert counts == [0, 0, 0]
    assert without_load(life.second.rows(resource)) == without_load(life.first.rows(resource))
    assert life.second.types[resource] == life.first.types[resource]


@of_each_resource("life")
def test_a_changed_record_changes(life: Life, resource: str) -> None:
    before, now = life.second.api[resource], life.third.api[resource]
    changed = {key for key in before.keys() & now.keys() if before[key] != now[key]}
    assert changed
    rows = life.third.living(resource)
    assert not differences({key: now[key] for key in changed}, {key: rows[key] for key in changed})
    assert life.third.count(resource, "rows_changed") == len(changed)


@of_each_resource("life", growing=True)
def test_a_new_record_comes(life: Life, resource: str) -> None:
    new = life.third.api[resource].keys() - life.second.api[resource].keys()
    assert new
    assert new <= life.third.living(resource).keys()
    assert life.third.count(resource, "rows_new") == len(new)
    assert not differences(life.third.api[resource], life.third.living(resource))


@of_each_resource("life", growing=True)
def test_a_vanished_record_is_flagged_when_that_is_confirmed(life: Life, resource: str) -> None:
    gone = life.second.api[resource].keys() - life.third.api[resource].keys()
    assert gone
    assert life.third.rows(resource).keys() - life.third.living(resource).keys() == gone
    confirmed = life.fourth.rows(resource)
    assert {key for key, row in confirmed.items() if row[DELETED_AT]} == gone
    assert not differences({key: life.second.api[resource][key] for key in gone}, {key: confirmed[key] for key in gone})
    assert sum(run.count(resource, "rows_deleted") for run in (life.third, life.fourth)) == len(gone)


@of_each_resource("life")
def test_types_hold_when_values_of_other_kinds_come(life: Life, resource: str) -> None:
    assert not life.fourth.problem
    before, now = life.third.types[resource], life.fourth.types[resource]
    assert {name: now.get(name) for name in before} == before
    assert not [name for name in now if "__v_" in name]  # dlt's columns for what does not fit
    assert life.fourth.count(resource, "rows_rejected") == 0
    assert not differences(life.fourth.api[resource], life.fourth.living(resource))


@of_each_resource("trouble")
def test_a_page_that_fails_leaves_the_table_and_the_others_land(trouble: Trouble, resource: str) -> None:
    for run in trouble.failed:
        if resource in run.failed:
            assert resource in run.after.problem
            assert resource not in run.after.landed
            assert run.after.tables[resource] == run.before.tables[resource]
        else:
            assert resource in run.after.landed
            assert not differences(run.after.api[resource], run.after.living(resource))
    assert any(resource in run.failed for run in trouble.failed)


@of_each_resource("trouble")
def test_a_kill_while_a_listing_is_read_leaves_the_table_and_the_next_run_is_right(
    trouble: Trouble, resource: str
) -> None:
    run = trouble.reading
    assert run.killed.tables[resource] == run.before.tables[resource]
    assert not run.after.problem
    assert not differences(run.after.api[resource], run.after.living(resource))


@of_each_resource("trouble")
def test_a_kill_while_tables_are_loaded_leaves_each_row_old_or_new_and_the_next_run_is_right(
    trouble: Trouble, resource: str
) -> None:
    run = trouble.loading
    old, left, new = run.before.rows(resource), run.killed.rows(resource), run.killed.api[resource]
    assert old.keys() <= left.keys() <= old.keys() | new.keys()
    for key, row in left.items():
        assert row == old.get(key) or not differences({key: new[key]}, {key: row})
    assert not run.after.problem
    assert not differences(run.after.api[resource], run.after.living(resource))
