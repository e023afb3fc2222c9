"""Whatever the primary key of a resource is, its table is kept as that of a resource with an `id`."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from crm_assets.apis.api import Resource
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import RESOURCES, Warehouse, an_account, run_assets
from crm_assets_tests.load.keyed import Price, account_of, failed_checks, fill, load, price, prices

pytestmark = pytest.mark.each_warehouse(thorough=True)

USUAL = ("shop", "sku")
OTHERS = [("id",), ("sku",), ("sku", "shop", "is_net"), ("since",), ("factor",)]
KEYS = [USUAL, *(pytest.param(key, marks=pytest.mark.thorough) for key in OTHERS)]
COUNT = 120


@pytest.fixture(params=KEYS, ids="+".join)
def resource(request: pytest.FixtureRequest) -> Resource:
    """Prices with one of the keys."""
    return prices(*request.param)


@pytest.fixture
def ids(sandbox: Sandbox) -> list[Any]:
    """What the sandbox calls the prices."""
    return fill(sandbox, COUNT)


def where(resource: Resource, number: int, record_id: Any) -> str:
    """Return the condition of the row of price `number`."""
    values = {"id": f"{record_id}", "since": f"to_timestamp({1_700_000_000 + number})"}
    values |= {"shop": f"{number % 7}", "sku": f"'{price(number)['sku']}'", "factor": f"{number / 8}"}
    values |= {"is_net": str(number % 2 == 1)}
    return " AND ".join(f"{name} = {values[name]}" for name in resource.key)


@pytest.mark.usefixtures("ids")
def test_every_record_lands_once_and_a_second_run_changes_nothing(
    resource: Resource, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    assert load(instance, resource)["rows_new"] == COUNT
    assert set(load(instance, resource).values()) == {0}
    assert failed_checks(instance, resource) == {}
    key = ", ".join(resource.key)
    assert warehouse.query(f"SELECT count(*), count(DISTINCT ({key})) FROM crm.deals") == [(COUNT, COUNT)]


def test_a_record_that_changed_or_vanished_changes_its_row_alone(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    load(instance, resource)
    sandbox.crm.update("deals", ids[5], name="Another")
    sandbox.crm.delete("deals", ids[8])
    assert load(instance, resource) | {"rows_rejected": 0} == {
        "rows_new": 0,
        "rows_changed": 1,
        "rows_deleted": 0,
        "rows_missing": 1,
        "rows_rejected": 0,
    }
    assert warehouse.query(f"SELECT name FROM crm.deals WHERE {where(resource, 5, ids[5])}") == [("Another",)]
    gone = (
        f"SELECT _missing_since IS NOT NULL, _deleted_at IS NOT NULL FROM crm.deals WHERE {where(resource, 8, ids[8])}"
    )
    assert warehouse.query(gone) == [(True, False)]
    assert load(instance, resource)["rows_deleted"] == 1
    assert warehouse.query(gone) == [(True, True)]
    assert warehouse.query("SELECT count(_missing_since), count(_deleted_at) FROM crm.deals") == [(1, 1)]


def test_every_version_is_kept_and_ends_with_its_record(
    resource: Resource,
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    ids: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    load(instance, resource)
    sandbox.crm.update("deals", ids[5], name="Another")
    sandbox.crm.delete("deals", ids[8])
    load(instance, resource)
    assert failed_checks(instance, resource) == {}
    versions = "SELECT name, _dlt_valid_to IS NULL FROM crm.deals_history"
    for number, expected in ((5, [("Article 5", False), ("Another", True)]), (8, [("Article 8", False)])):
        condition = where(resource, number, ids[number])
        assert warehouse.query(f"{versions} WHERE {condition} ORDER BY _dlt_valid_from") == expected
    assert warehouse.query("SELECT count(*) FROM crm.deals_history") == [(COUNT + 1,)]


def test_of_a_record_that_is_listed_twice_the_newest_version_lands_and_the_check_names_its_key(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    same = {"id": ids[5], **price(5)}
    sandbox.crm.replace("deals", 90, {**same, "name": "Older", "updated_time": 1_600_000_000})
    sandbox.crm.replace("deals", 5, {**same, "name": "Newest", "updated_time": 1_700_000_500})
    failed = failed_checks(instance, resource)
    assert warehouse.query(f"SELECT name FROM crm.deals WHERE {where(resource, 5, ids[5])}") == [("Newest",)]
    assert warehouse.query("SELECT count(*) FROM crm.deals") == [(COUNT - 1,)]
    assert failed.keys() == {"unique_id"}
    severity, words, [row] = failed["unique_id"]
    assert (severity, words.partition(",")[0]) == ("WARN", "1 record changed while the listing was read")
    assert list(row) == [", ".join(resource.key)]


def test_a_listing_that_lost_too_much_deletes_nothing_until_it_is_allowed(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    load(instance, resource)
    for record_id in ids[:25]:
        sandbox.crm.delete("deals", record_id)
    assert failed_checks(instance, resource)["row_count"][1].startswith("25 of 120 rows not in the last listing")
    assert warehouse.query("SELECT count(_deleted_at) FROM crm.deals") == [(0,)]
    assert load(instance, resource, allow_deletes=True)["rows_deleted"] == 25


@pytest.mark.usefixtures("warehouse")
def test_the_rows_that_a_check_shows_have_their_key(
    resource: Resource, sandbox: Sandbox, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    column = "probability" if resource.key == ("id",) else "discount"
    sandbox.crm.update("deals", ids[5], **{column: 150})
    _, words, [row] = failed_checks(instance, resource)["ranges"]
    assert words.startswith(f"{column} is above 100 in 1 row; ids ")
    assert list(row) == ["condition", *resource.key, "value"]


@pytest.mark.usefixtures("ids", "warehouse")
def test_the_preview_begins_with_the_key_and_is_in_its_order(resource: Resource, instance: dg.DagsterInstance) -> None:
    [event] = run_assets(instance, ["deals"], account=account_of(resource)).get_asset_materialization_events()
    preview: Any = event.materialization.metadata["preview"]
    assert [column.name for column in preview.value.schema.columns][: len(resource.key)] == list(resource.key)


@pytest.mark.parametrize(
    ("key", "record", "record_id", "reason"),
    [
        (("sku",), {"shop": 1}, None, "sku is missing"),
        (("shop", "sku"), {"sku": "a, b"}, r"sku=a\, b", "shop is missing"),
        (("shop", "sku"), {"shop": "007", "sku": None}, "shop=7", "sku is missing"),
        (("shop", "sku"), {"shop": "north", "sku": "x"}, "shop=north, sku=x", "shop: 'north' is not a whole number"),
        (
            ("shop", "is_net"),
            {"shop": 7, "is_net": "perhaps"},
            "shop=7, is_net=perhaps",
            "is_net: 'perhaps' is neither",
        ),
    ],
)
@pytest.mark.usefixtures("ids")
def test_a_record_without_a_whole_key_is_kept_with_the_reason(
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    key: tuple[str, ...],
    record: dict[str, Any],
    record_id: str | None,
    reason: str,
) -> None:
    sandbox.crm.replace("deals", 3, record)
    sandbox.crm.replace("deals", 4, "no record")
    load(instance, prices(*key))
    rejected = warehouse.query("SELECT record_id, reason FROM crm.rejected_records ORDER BY reason")
    assert [one for one in rejected if one[1].startswith(reason)] != []
    assert {one for one, why in rejected if why.startswith(reason)} == {record_id}
    assert (None, "is not a JSON object") in rejected


def test_keys_that_look_alike_when_they_are_joined_are_two(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    resource = prices("sku", "name")
    pairs = [("a", "b, c"), ("a, name=b", "c"), ("a", "b\\, c"), ("ab", "c"), ("a", "bc"), ("", "abc")]
    fill(sandbox, 0)
    created = [sandbox.crm.create("deals", {"sku": sku, "name": name})["id"] for sku, name in pairs]
    assert load(instance, resource)["rows_new"] == len(pairs)
    sandbox.crm.delete("deals", created[3])
    sandbox.crm.update("deals", created[4], discount=7)
    for _ in range(2):
        load(instance, resource)
    assert warehouse.query("SELECT sku, name FROM crm.deals WHERE _deleted_at IS NOT NULL") == [pairs[3]]
    ended = "SELECT sku, name FROM crm.deals_history WHERE _dlt_valid_to IS NOT NULL ORDER BY sku"
    assert warehouse.query(ended) == [pairs[4], pairs[3]]


def test_an_unconfirmed_delete_ends_no_version_whose_key_looks_alike(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    resource = prices("sku", "name")
    fill(sandbox, 0)
    one, _ = [sandbox.crm.create("deals", {"sku": sku, "name": name}) for sku, name in (("ab", "c"), ("a", "bc"))]
    load(instance, resource)
    sandbox.crm.delete("deals", one["id"])
    load(instance, resource)
    assert warehouse.query("SELECT count(*) FROM crm.deals_history WHERE _dlt_valid_to IS NULL") == [(2,)]


@pytest.mark.usefixtures("ids")
def test_a_key_that_is_another_one_than_before_is_the_only_one(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    load(instance, prices("shop", "sku"))
    sandbox.crm.replace("deals", 5, {**price(5), "shop": 99})
    load(instance, prices("sku"))
    assert warehouse.query(f"SELECT shop FROM crm.deals WHERE sku = '{price(5)['sku']}'") == [(99,)]
    assert warehouse.query("SELECT count(*) FROM crm.deals") == [(COUNT,)]


@pytest.mark.usefixtures("warehouse")
def test_a_reference_leads_to_the_key_of_its_target(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    for resource in ("contacts", "notes"):
        for record in list(sandbox.crm.records(resource)):
            sandbox.crm.delete(resource, record["id"])
    sandbox.crm.create("contacts", {"sku": "c1"})
    sandbox.crm.create("notes", {"contact_ids": ["c1", "c3"]})
    contacts = replace(RESOURCES["contacts"], model=Price, primary_key=("sku",))
    account = replace(an_account(), resources=(contacts, RESOURCES["notes"]))
    result = run_assets(instance, ["contacts", "notes"], account=account)
    [found] = [one for one in result.get_asset_check_evaluations() if one.check_name == "references"]
    assert str(found.description) == "1 of 2 in contact_ids have no target: c3."
