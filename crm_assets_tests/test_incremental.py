"""What is asked for when only what is new is wanted: what the warehouse lacks, and now and then everything."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import duckdb
import pytest

from crm_assets_tests.conftest import Warehouse, an_account, failure_of, impatient, run_assets
from crm_assets_tests.shop import TOKEN, Shop

Load = Callable[..., dict[str, dict[str, Any]]]
EARLIER, LATER = "2024-03-01T00:00:00Z", "2024-06-01T12:00:00Z"


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop whose orders changed long ago, all but one."""
    with Shop() as running:
        for number, order in enumerate(running.records.all("orders")):
            order["updated_at"] = EARLIER if number else LATER
        yield running


@pytest.fixture
def load(shop: Shop, warehouse: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load orders and their lines with these settings of `sync`; return the metadata of each table."""
    monkeypatch.setenv("SOURCES__SHOP__TOKEN", TOKEN)

    def load(*names: str, **sync: Any) -> dict[str, dict[str, Any]]:
        shop.log.clear()
        account = an_account("shop", api=impatient(shop.config()), base_url=shop.base_url, sync=sync)
        result = run_assets(instance, names or ("orders", "lines"), account=account)
        assert result.success, failure_of(result)
        errors = [one for one in result.get_asset_check_evaluations() if not one.passed]
        assert not [one.description for one in errors if one.severity is dg.AssetCheckSeverity.ERROR]
        found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
        return {one.asset_key.path[-1]: {name: value.value for name, value in one.metadata.items()} for one in found}

    return load


def asked_from(shop: Shop) -> set[str]:
    return {seen.query["updated_after"] for seen in shop.log if seen.path == "/orders"}


def flagged(warehouse: Warehouse, table: str) -> int:
    return int(warehouse.query(f"SELECT count(*) FROM crm_shop.{table} WHERE _missing_since IS NOT NULL")[0][0])


def test_the_second_load_asks_for_what_is_newer_than_the_newest_row_a_little_back(load: Load, shop: Shop) -> None:
    assert "since" not in load()["orders"]
    assert asked_from(shop) == {"2024-01-01T00:00:00Z"}
    found = load(look_back=3600)
    assert asked_from(shop) == {"2024-06-01T11:00:00Z"}
    assert found["orders"]["since"] == "updated_at 2024-06-01T11:00:00Z"
    assert found["orders"]["records"] == 1
    assert found["orders"]["dagster/row_count"] == len(shop.records.all("orders"))


def test_what_changed_arrives_and_what_was_deleted_is_for_the_whole_listing_to_find(
    load: Load, shop: Shop, warehouse: Warehouse
) -> None:
    load()
    first, *_, last = shop.records.all("orders")
    shop.records.change("orders", (first["id"],), label="changed", updated_at=LATER)
    shop.records.delete("orders", (last["id"],))
    assert load()["orders"]["rows_changed"] == 1
    assert warehouse.query(f"SELECT label FROM crm_shop.orders WHERE id = {first['id']}") == [("changed",)]
    assert flagged(warehouse, "orders") == 0
    assert "since" not in load(full_listing_interval=0)["orders"]
    assert flagged(warehouse, "orders") == 1


def test_children_of_what_is_new_are_requested_and_the_others_stay(
    load: Load, shop: Shop, warehouse: Warehouse
) -> None:
    load()
    changed = shop.records.all("orders")[1]["id"]
    shop.records.change("orders", (changed,), updated_at=LATER)
    found = load()["lines"]
    # The newest order of before comes again, for a look back, and is as it was.
    assert {seen.path for seen in shop.log} == {"/orders", f"/orders/{changed}/lines"}
    assert found["since"] == "orders from updated_at 2024-06-01T11:55:00Z"
    assert found["dagster/row_count"] == len(shop.records.all("lines"))
    assert flagged(warehouse, "lines") == 0


def test_a_child_that_was_never_listed_whole_lets_its_parent_be_listed_whole(load: Load, shop: Shop) -> None:
    load("orders")
    found = load()
    assert asked_from(shop) == {"2024-01-01T00:00:00Z"}
    assert "since" not in {**found["orders"], **found["lines"]}
    assert found["lines"]["dagster/row_count"] == len(shop.records.all("lines"))


def test_a_child_that_failed_while_its_parent_was_loaded_misses_nothing(
    load: Load, shop: Shop, warehouse: Warehouse
) -> None:
    load()
    second, third = shop.records.all("orders")[1:3]
    shop.records.change("orders", (second["id"],), updated_at="2024-06-02T12:00:00Z")
    shop.records.create("lines", second["id"])
    shop.records.change("orders", (third["id"],), updated_at="2024-06-03T12:00:00Z")
    load("orders")  # as a run in which the lines failed
    load()
    assert warehouse.tables("crm_shop")["lines"] == len(shop.records.all("lines"))


def test_a_time_that_is_still_to_come_hides_no_change(load: Load, shop: Shop) -> None:
    last = shop.records.all("orders")[-1]
    shop.records.change("orders", (last["id"],), updated_at="2999-01-01T00:00:00Z")
    load()
    assert load(look_back=0)["orders"]["since"] == f"updated_at {LATER}"


def test_the_mode_full_lists_everything_each_time(load: Load, shop: Shop) -> None:
    load()
    assert "since" not in load(mode="full")["orders"]
    assert asked_from(shop) == {"2024-01-01T00:00:00Z"}


def test_the_whole_listing_counts_by_resource(load: Load, shop: Shop) -> None:
    load()
    found = load(orders={"mode": "full"})
    assert "since" not in found["orders"]
    assert "since" not in found["lines"]


def test_a_record_of_loads_that_an_earlier_version_made_knows_whole_listings_only(
    load: Load, warehouse: Warehouse
) -> None:
    load()
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("ALTER TABLE crm_shop.resource_loads DROP COLUMN since")
    assert "since" in load()["orders"]
    assert warehouse.columns("resource_loads", "crm_shop")["since"] == "VARCHAR"
