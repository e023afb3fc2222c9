"""Reading an API that is described in a file: paginators, logins, children, what is new."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_assets.account import Account, resolve_account
from crm_assets.apis.api import Resource, read_api
from crm_assets.errors import LoginRefused, UnexpectedResponse
from crm_assets.extract.connect import connect
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.fetch import Listings, fetch
from crm_assets.extract.incremental import Start, start_value, with_start
from crm_assets.extract.pages import read_pages
from crm_assets.extract.progress import ProgressListener, Reading
from crm_assets.extract.rate_limit import RateLimit
from crm_assets.extract.source import crm_source
from crm_assets_tests.conftest import impatient
from crm_assets_tests.shop import LISTINGS, LOGINS, TOKEN, Answer, Shop

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop of this test."""
    with Shop() as running:
        yield running


class Reader:
    """Reads resources of a shop, attempt after attempt, with the files of one account."""

    def __init__(self, shop: Shop, directory: Path) -> None:
        self.shop = shop
        self.directory = directory
        self.said: list[str] = []
        self.readings: list[Reading] = []

    def account(self, change: Change | None = None) -> Account:
        config = self.shop.config()
        if change:
            change(config)
        return resolve_account("shop", api=impatient(config), data_dir=self.directory, base_url=self.shop.base_url)

    def read(self, *names: str, change: Change | None = None, starts: Any = None, **limits: Any) -> Listings:
        """Read the resources `names`, all for none."""
        account = self.account(change)
        listener = ProgressListener(self.readings.extend, self.said.append, every=0.01)
        with connect(account) as connection:
            used = replace(connection, **limits)
            return fetch(account, account.select(names), used, self.directory, listener, starts or {})


@pytest.fixture
def reader(shop: Shop, tmp_path: Path) -> Reader:
    return Reader(shop, tmp_path)


def counts(listings: Listings) -> dict[str, int]:
    assert not listings.failed, listings.failed
    return {one.resource: one.records for one in listings.complete}


def spoil(shop: Shop, listing: str, **fields: Any) -> None:
    """Let every page of a listing say something else in `fields`."""
    shop.spoil(listing, lambda right: replace(right, body={**right.body, **fields}))


def asked(shop: Shop) -> Counter[str]:
    return Counter(seen.path for seen in shop.log)


@pytest.mark.parametrize("login", LOGINS)
def test_every_listing_is_read_with_every_login(login: str, tmp_path: Path) -> None:
    with Shop(login=login) as shop:
        found = counts(Reader(shop, tmp_path).read())
        assert found == {name: len(shop.records.all(name)) for name in LISTINGS}


def test_a_token_is_asked_for_once_by_all_threads_and_again_when_it_is_refused(tmp_path: Path) -> None:
    with Shop(login="oauth2", token_requests=30) as shop:
        assert counts(Reader(shop, tmp_path).read())["addresses"]
        tokens = asked(shop)["/oauth/token"]
        assert 2 <= tokens <= len(shop.log) // 20


@pytest.mark.parametrize("login", [login for login in LOGINS if login != "oauth2"])
def test_a_login_that_is_refused_is_named_by_its_settings(login: str, tmp_path: Path) -> None:
    wrong = dict.fromkeys(("token", "password", "api_key"), "{{ dlt.secrets.wrong }}")

    def change(config: dict[str, Any]) -> None:
        auth = config["client"]["auth"]
        config["client"]["auth"] = {name: wrong.get(name, value) for name, value in auth.items()}

    with Shop(login=login) as shop, pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCES__SHOP__WRONG", "n0t it")
        [error] = Reader(shop, tmp_path).read("invoices", change=change).failed.values()
        assert isinstance(error, LoginRefused)
        assert "Check sources.shop.wrong (SOURCES__SHOP__WRONG)" in str(error)
        assert len([seen for seen in shop.log if seen.listing]) == 1


def test_a_parent_is_listed_once_for_itself_and_all_its_children(reader: Reader, shop: Shop) -> None:
    found = counts(reader.read("customers", "addresses"))
    assert found["customers"] == 25
    assert asked(shop)["/customers"] == 3
    assert max(asked(shop).values()) == 3
    assert len(asked(shop)) == 1 + 25


def test_a_parent_that_is_not_loaded_is_listed_for_its_children(reader: Reader) -> None:
    def unselected(config: dict[str, Any]) -> None:
        next(row for row in config["resources"] if row["name"] == "stores")["selected"] = False

    assert list(counts(reader.read("stock"))) == ["stock"]
    found = counts(reader.read(change=unselected))
    assert "stores" not in found
    assert found["stock"] == 36


def test_children_get_what_is_included_from_their_parent(reader: Reader) -> None:
    [listing] = reader.read("lines").complete
    columns = listing.spooled.schema.names
    assert {"orders_id", "_orders_id"} & set(columns)


def test_a_child_that_fails_names_its_parent_and_fails_its_resource_only(reader: Reader, shop: Shop) -> None:
    third = shop.records.all("customers")[2]["id"]
    shop.fail("addresses", parent=third)
    listings = reader.read("customers", "addresses", "products")
    assert [one.resource for one in listings.complete] == ["products", "customers"]
    assert str(listings.failed["addresses"]).startswith(f"addresses: of customers with id {third}: HTTP 503 from")


def test_what_a_parent_lacks_is_named_with_what_it_has(reader: Reader) -> None:
    def change(config: dict[str, Any]) -> None:
        row = next(row for row in config["resources"] if row["name"] == "stock")
        row["endpoint"]["path"] = "stores/{resources.stores.number}/stock"

    listings = reader.read("stores", "stock", change=change)
    assert [one.resource for one in listings.complete] == ["stores"]
    assert "stores: a record has no field number, with which its children are requested" in str(
        listings.failed["stock"]
    )


def test_an_interrupted_run_does_not_ask_again_for_the_parents_that_are_done(reader: Reader, shop: Shop) -> None:
    last = shop.records.all("orders")[-1]["id"]
    shop.fail("lines", parent=last)
    first = reader.read("lines", concurrency=1)
    assert "lines" in first.failed
    shop.heal()
    shop.log.clear()
    found = reader.read("lines", concurrency=1)
    assert counts(found)["lines"] == len(shop.records.all("lines"))
    again = [path for path in asked(shop) if path.endswith("/lines")]
    assert again == [f"/orders/{last}/lines"]
    assert found.complete[0].resumed
    assert [line for line in reader.said if "resuming the interrupted listing" in line]


def test_progress_says_for_how_many_parents_of_how_many(reader: Reader) -> None:
    reader.read("stock")
    last = [one for one in reader.readings if one.resource == "stock"][-1]
    assert (last.parents_done, last.parents_total) == (12, 12)
    assert "12 of 12 parents" in str(last)


def test_no_second_has_more_requests_than_are_allowed(tmp_path: Path) -> None:
    with Shop(counts={"stores": 60, "stock": 1}) as shop:
        reader = Reader(shop, tmp_path)
        reader.read("stores", "stock", "products", change=lambda api: api["client"].update(requests_per_second=50))
        times = sorted(seen.at for seen in shop.log)
        assert len(times) > 60
        assert max(sum(start <= one < start + 1 for one in times) for start in times) <= 55


def test_all_threads_wait_when_one_is_asked_to(reader: Reader, shop: Shop) -> None:
    shop.fail("invoices", 429, "1", times=1, from_page=2)
    found = counts(reader.read("invoices", "stores", "stock", concurrency=1, rate_limit=RateLimit(20)))
    assert found["invoices"] == 33
    times = sorted(seen.at for seen in shop.log)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.9


def test_all_threads_wait_when_the_server_fails_five_of_them(tmp_path: Path) -> None:
    def patient(config: dict[str, Any]) -> None:
        for row in config["resources"]:
            row["endpoint"]["error_handler"] = {"backoff_factor": 1}

    with Shop(counts={"stores": 60, "stock": 1}) as shop:
        shop.fail("stock", 503, times=5)
        found = counts(Reader(shop, tmp_path).read("stores", "stock", change=patient, rate_limit=RateLimit(50)))
        assert found["stock"] == 60
        times = sorted(seen.at for seen in shop.log)
        # Three of eight threads have met no error, and go on otherwise.
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.9


@pytest.mark.parametrize(
    ("listing", "wrong", "said"),
    [
        ("customers", {"next": "/customers?start=10"}, "came twice"),
        ("customers", {"next": "http://127.0.0.2:1/customers"}, "at another place, http://127.0.0.2:1"),
        ("payments", {"meta": {"next_cursor": "ZnJvbToxMA=="}}, "came twice"),
        ("products", {"total": 15}, "the CRM says that there are 15 records, and has sent 20"),
        ("search", {"hits": [{"id": 1}], "has_more": True}, "the same page came three times"),
        ("search", {"hits": [], "has_more": True}, "101 pages in a row were empty"),
        ("orders", {"pages": None}, "does not say whether another page follows: Total `pages` not found"),
    ],
)
def test_a_listing_that_cannot_be_right_is_given_up(
    reader: Reader, shop: Shop, listing: str, wrong: dict[str, Any], said: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        row = next(row for row in config["resources"] if row["name"] == listing)
        if listing == "search":
            row["endpoint"]["paginator"]["stop_after_empty_page"] = False

    spoil(shop, listing, **wrong)
    with pytest.raises(UnexpectedResponse, match=said):
        raise reader.read(listing, change=change).failed[listing]


@pytest.mark.parametrize("listing", ["customers", "invoices", "payments", "orders"])
def test_pages_that_nobody_has_named_a_paginator_for_are_not_taken_for_all(
    reader: Reader, shop: Shop, listing: str
) -> None:
    def change(config: dict[str, Any]) -> None:
        del next(row for row in config["resources"] if row["name"] == listing)["endpoint"]["paginator"]

    spoiled = {"payments": {"next": "abc"}}.get(listing)
    if spoiled:
        spoil(shop, listing, **spoiled)
    [error] = reader.read(listing, change=change).failed.values()
    assert "the listing was cut" in str(error)
    assert "Name the paginator of its endpoint" in str(error)


@pytest.mark.parametrize("listing", ["products", "orders", "customers", "invoices", "payments", "shipments", "search"])
def test_a_listing_of_any_paginator_goes_on_where_it_broke_off(reader: Reader, shop: Shop, listing: str) -> None:
    shop.fail(listing, from_page=3)
    assert reader.read(listing).failed
    shop.heal()
    shop.log.clear()
    found = reader.read(listing)
    assert counts(found)[listing] == len(shop.records.all(listing))
    assert found.complete[0].resumed == 20
    assert len(shop.log) == -(-len(shop.records.all(listing)) // 10) - 2


def test_an_incremental_listing_asks_for_what_is_new(reader: Reader, shop: Shop) -> None:
    newest = max(record["updated_at"] for record in shop.records.all("orders"))
    found = counts(reader.read("orders", starts={"orders": Start(newest, "")}))
    assert 0 < found["orders"] < len(shop.records.all("orders"))
    assert shop.log[-1].query["updated_after"] == newest


def test_a_whole_listing_begins_with_the_initial_value(reader: Reader, shop: Shop) -> None:
    reader.read("orders")
    assert {seen.query["updated_after"] for seen in shop.log} == {"2024-01-01T00:00:00Z"}


MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("initial", "newest", "written"),
    [
        ("2020-01-01T00:00:00Z", MOMENT, "2024-05-06T07:07:09Z"),
        (None, MOMENT, "2024-05-06T07:07:09Z"),
        ("2020-01-01", MOMENT, "2024-05-06"),
        (0, MOMENT, 1714979229),
        (1577836800, MOMENT, 1714979229),
        (1577836800000, MOMENT, 1714979229000),
        (0, 4711, 4711),
        ("", "abc", "abc"),
    ],
)
def test_the_start_is_written_like_the_initial_value_and_lies_before_the_newest(
    initial: Any, newest: Any, written: Any
) -> None:
    assert start_value({"cursor_path": "at", "initial_value": initial}, newest, 60) == written


def test_lag_goes_before_the_look_back() -> None:
    assert start_value({"cursor_path": "at", "initial_value": 0, "lag": 10}, MOMENT, 60) == 1714979279
    assert start_value({"cursor_path": "at", "initial_value": 0, "lag": 10}, 4711, 60) == 4701


def resource(endpoint: dict[str, Any]) -> Resource:
    row = {"name": "orders", "endpoint": endpoint}
    return read_api({"client": {}, "resources": [row]}).resources[0]


def test_the_start_stands_wherever_the_configuration_wants_it() -> None:
    endpoint = {
        "path": "since/{incremental.start_value}/{{kept}}",
        "method": "POST",
        "params": {"until": "{incremental.end_value}"},
        "json": {"since": "{incremental.start_value}", "n": 5},
        "headers": {"X-Since": "at {incremental.start_value}"},
        "incremental": {"cursor_path": "at", "initial_value": 1, "end_value": 9, "convert": "builtins:float"},
    }
    found = with_start(resource(endpoint), 4).endpoint
    assert found["path"] == "since/4.0/{{kept}}"
    assert found["json"] == {"since": 4.0, "n": 5}
    assert found["headers"] == {"X-Since": "at 4.0"}
    assert found["params"] == {"until": 9.0}
    assert "incremental" not in found


def test_a_parameter_may_be_the_incremental_cursor() -> None:
    params = {"since": {"type": "incremental", "cursor_path": "at", "initial_value": 1}}
    assert with_start(resource({"path": "x", "params": params})).endpoint["params"] == {"since": 1}
    assert with_start(resource({"path": "x", "params": params}), 4).endpoint["params"] == {"since": 4}


def test_records_go_through_the_processing_steps(shop: Shop) -> None:
    config = shop.config()
    row = next(row for row in config["resources"] if row["name"] == "products")
    row["processing_steps"] = [
        {"filter": lambda record: record["sku"] > "S"},
        {"map": lambda record: {"sku": record["sku"].lower()}},
        {"yield_map": lambda record: [record, {"sku": f"{record['sku']}-2"}]},
    ]
    [products] = [one for one in read_api(config).resources if one.name == "products"]
    connection = Connection(shop.base_url, {}, config["client"]["auth"])
    pages = list(read_pages(products, connection, Traffic()))
    skus = [record["sku"] for record in shop.records.all("products") if record["sku"] > "S"]
    wanted = [one for sku in skus for one in (sku.lower(), f"{sku.lower()}-2")]
    assert [record["sku"] for page in pages for record in page.records] == wanted


def test_a_response_action_may_change_the_response_and_what_it_makes_is_checked(reader: Reader) -> None:
    def change(config: dict[str, Any]) -> None:
        row = next(row for row in config["resources"] if row["name"] == "exports")
        row["endpoint"]["response_actions"] = [spoil_it]

    def spoil_it(response: Any) -> None:
        response._content = b'"nothing"'

    [error] = reader.read("exports", change=change).failed.values()
    assert "a text instead of a list of records" in str(error)


def test_what_is_ignored_ends_the_listing(reader: Reader, shop: Shop) -> None:
    def change(config: dict[str, Any]) -> None:
        row = next(row for row in config["resources"] if row["name"] == "invoices")
        row["endpoint"]["response_actions"] = [{"status_code": 404, "action": "ignore"}]

    shop.spoil("invoices", lambda _: Answer({"error": "gone"}, 404), from_page=2)
    assert counts(reader.read("invoices", change=change)) == {"invoices": 10}


def test_children_come_in_a_dlt_source_too(shop: Shop, tmp_path: Path) -> None:
    source = crm_source("shop", api=shop.config(), base_url=shop.base_url, data_dir=tmp_path, resources=["addresses"])
    tables = list(source.resources["addresses"])
    assert sum(len(table) for table in tables) == len(shop.records.all("addresses"))


def test_an_address_from_the_environment_is_no_secret_and_a_token_from_there_is(
    reader: Reader, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", shop.base_url)
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)

    def change(config: dict[str, Any]) -> None:
        config["client"] |= {"base_url": "{{ env.SHOP_URL }}", "auth": {"token": "{{ env.SHOP_TOKEN }}"}}

    with connect(reader.account(change)) as connection:
        assert connection.redacted(f"{shop.base_url}?{TOKEN}") == f"{shop.base_url}?***"
    monkeypatch.delenv("SHOP_URL")  # the setting goes before it
    shop.fail("payments", from_page=4)
    assert shop.base_url in str(reader.read("payments", change=change).failed["payments"])
    shop.heal()
    assert reader.read("payments", change=change).complete[0].resumed == 30
