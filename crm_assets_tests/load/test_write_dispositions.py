"""Tables that are appended to, and tables that each listing replaces."""

from typing import Any

import dagster as dg
import pytest

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import WriteDisposition
from crm_assets.errors import ApiConfigError, SettingError
from crm_assets.load.deletes import TINY_TABLE
from crm_assets.quality.checks import checks_of
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Warehouse, failure_of, run_assets, some
from crm_assets_tests.load.keyed import account_of, failed_checks, fill, load, price, prices

pytestmark = pytest.mark.each_warehouse(thorough=True)

COUNT = 120
APPENDED = [prices(write_disposition="append"), prices("sku", write_disposition="append")]
REPLACED = [prices(write_disposition="replace"), prices("shop", "sku", write_disposition="replace")]
ROWS = "SELECT count(*) FROM crm.deals"
FLAGGED = "SELECT count(_missing_since) + count(_deleted_at) FROM crm.deals"


def key_of(resource: Resource) -> str:
    """Return the key of a resource for the name of a test."""
    return "+".join(resource.key) or "no key"


appended = pytest.mark.parametrize("resource", some(*APPENDED), ids=key_of)
replaced = pytest.mark.parametrize("resource", some(*reversed(REPLACED)), ids=key_of)


@pytest.fixture
def ids(sandbox: Sandbox) -> list[Any]:
    """What the sandbox calls the prices."""
    return fill(sandbox, COUNT)


def fails_to_load(instance: dg.DagsterInstance, resource: Resource) -> str:
    """Load `resource` alone, and return why it does not load."""
    result = run_assets(instance, ["deals"], account=account_of(resource))
    assert not result.success
    return failure_of(result)


@appended
def test_each_run_appends_its_listing_and_deletes_nothing(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    assert load(instance, resource)["rows_new"] == COUNT
    for record_id in ids[:80]:
        sandbox.crm.delete("deals", record_id)
    counts = load(instance, resource)
    assert {name: count for name, count in counts.items() if count} == {"rows_new": COUNT - 80}
    assert failed_checks(instance, resource) == {}
    assert warehouse.query(ROWS) == [(COUNT + 2 * (COUNT - 80),)]
    assert warehouse.query(FLAGGED) == [(0,)]


@appended
def test_a_record_that_is_listed_twice_is_appended_twice(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    sandbox.crm.replace("deals", 5, {"id": ids[7], **price(7)})
    assert load(instance, resource)["rows_new"] == COUNT
    assert warehouse.query(ROWS) == [(COUNT,)]


@replaced
def test_the_table_is_the_listing_and_no_more(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    assert load(instance, resource)["rows_new"] == COUNT
    assert not any(load(instance, resource).values())
    for record_id in ids[:10]:
        sandbox.crm.delete("deals", record_id)
    sandbox.crm.update("deals", ids[20], name="Another")
    counts = load(instance, resource)
    assert (counts["rows_new"], counts["rows_deleted"], counts["rows_changed"]) == (0, 10, 1 if resource.key else 0)
    assert warehouse.query(f"{ROWS} WHERE name = 'Another'") == [(1,)]
    assert warehouse.query(ROWS) == [(COUNT - 10,)]
    assert warehouse.query(FLAGGED) == [(0,)]
    assert failed_checks(instance, resource) == {}


@replaced
def test_an_empty_listing_empties_a_tiny_table(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    fill(sandbox, TINY_TABLE)
    load(instance, resource)
    fill(sandbox, 0)
    assert load(instance, resource)["rows_deleted"] == TINY_TABLE
    assert warehouse.query(ROWS) == [(0,)]


@pytest.mark.usefixtures("ids")
def test_without_a_key_a_record_that_is_listed_twice_is_there_twice(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    sandbox.crm.replace("deals", 5, {"id": 7, **price(7)})
    load(instance, prices(write_disposition="replace"))
    assert warehouse.query(f"{ROWS} WHERE name = 'Article 7'") == [(2,)]


@pytest.mark.parametrize(
    "resource",
    some(*APPENDED[:1], *REPLACED[:1], prices("sku"), *APPENDED[1:], *REPLACED[1:], always=3),
    ids=lambda one: f"{one.write_disposition}-{key_of(one)}",
)
def test_a_load_that_fails_in_the_warehouse_leaves_the_rows_as_they_were(
    resource: Resource, sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, ids: list[Any]
) -> None:
    load(instance, resource)
    before = warehouse.query("SELECT * FROM crm.deals ORDER BY name")
    warehouse.query("CREATE UNIQUE INDEX one_of_a_name ON crm.deals (name, discount)")
    for record_id in ids[-2:]:
        sandbox.crm.update("deals", record_id, name="Same", discount=9)
    assert "No table was changed" not in (said := fails_to_load(instance, resource))
    assert "Tables that were not reached are as they were" in said
    assert warehouse.query("SELECT * FROM crm.deals ORDER BY name") == before


@pytest.mark.parametrize(("resource", "changed"), some((REPLACED[1], 1), (REPLACED[0], 0)), ids=["shop+sku", "no key"])
def test_a_listing_that_lost_too_much_replaces_nothing_until_it_is_allowed(
    resource: Resource,
    changed: int,
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    ids: list[Any],
) -> None:
    load(instance, resource)
    for record_id in ids[:25]:
        sandbox.crm.delete("deals", record_id)
    sandbox.crm.update("deals", ids[30], name="Another")
    failed = failed_checks(instance, resource)
    assert failed.keys() == {"row_count"}
    what = "nothing was deleted" if resource.key else "nothing was loaded"
    assert failed["row_count"][1] == (
        f"25 of 120 rows not in the last listing, more than sync.delete_guard allows: {what}. "
        "If that is right, allow it once: crm-assets sync deals --allow-deletes"
    )
    assert warehouse.query("SELECT count(*), count(*) FILTER (WHERE name = 'Another') FROM crm.deals") == [
        (COUNT, changed)
    ]
    assert load(instance, resource, allow_deletes=True)["rows_deleted"] == 25
    assert warehouse.query(ROWS) == [(COUNT - 25,)]


def test_the_versions_of_a_table_that_is_replaced_end_with_their_rows(
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    ids: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    resource = prices("shop", "sku", write_disposition="replace")
    load(instance, resource)
    sandbox.crm.delete("deals", ids[8])
    sandbox.crm.update("deals", ids[5], name="Another")
    assert failed_checks(instance, resource) == {}
    ended = "SELECT name FROM crm.deals_history WHERE _dlt_valid_to IS NOT NULL ORDER BY name"
    assert warehouse.query(ended) == [("Article 5",), ("Article 8",)]


@pytest.mark.parametrize("settings", some({"SYNC__DELETES": "keep"}, {"SYNC__DELETES_CONFIRM": "second_listing"}))
def test_a_table_that_is_replaced_asks_no_setting_of_deletes_but_the_guard(
    settings: dict[str, str],
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    ids: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    resource = prices("sku", write_disposition="replace")
    load(instance, resource)
    sandbox.crm.delete("deals", ids[8])
    load(instance, resource)
    assert warehouse.query(ROWS) == [(COUNT - 1,)]
    for record_id in ids[20:60]:
        sandbox.crm.delete("deals", record_id)
    load(instance, resource)
    assert warehouse.query(ROWS) == [(COUNT - 1,)]


@pytest.mark.usefixtures("ids")
def test_a_write_disposition_that_is_another_one_than_before_is_the_only_one(
    warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    rows = []
    order: list[tuple[str, WriteDisposition]] = [
        ("sku", "merge"),
        ("", "append"),
        ("", "replace"),
        ("sku", "append"),
        ("sku", "replace"),
        ("sku", "merge"),
    ]
    for key, disposition in order:
        load(instance, prices(*filter(None, [key]), write_disposition=disposition), allow_deletes=True)
        rows += warehouse.query(ROWS)
    assert [count // COUNT for (count,) in rows] == [1, 2, 1, 2, 1, 1]


@pytest.mark.parametrize(
    ("resource", "why"),
    [(*APPENDED[:1], "has no primary key"), (APPENDED[1], "is only appended to"), (REPLACED[0], "has no primary key")],
)
def test_a_history_of_what_has_no_versions_is_refused(
    resource: Resource, why: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    with pytest.raises(SettingError) as refused:
        account_of(resource)
    assert str(refused.value).startswith(f"sync.history is on for deals, which {why}")
    assert "Set `history = false` under [sources.crm.sync.deals]" in str(refused.value)
    monkeypatch.setenv("SOURCES__CRM__SYNC__DEALS__HISTORY", "false")
    account_of(resource)


def test_a_merge_without_a_key_is_refused() -> None:
    with pytest.raises(ApiConfigError, match="deals: write_disposition is merge, and no primary_key"):
        prices()


def test_ids_are_looked_at_only_where_each_is_to_be_unique() -> None:
    with_check = [
        one for one in [*APPENDED, *REPLACED, prices("sku")] if "unique_id" in checks_of(account_of(one), one)
    ]
    assert with_check == [REPLACED[1], prices("sku")]
