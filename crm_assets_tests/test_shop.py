"""The shop is what `shop.yaml` says: dlt itself loads from it what it holds."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any, cast

import dlt
import duckdb
import pytest
import requests
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.sources.rest_api import rest_api_source
from dlt.sources.rest_api.typing import RESTAPIConfig

from crm_assets_tests.shop import LISTINGS, LOGINS, TOKEN, Answer, Shop
from crm_assets_tests.shop_records import KEYS, Key, Record

column_name = NamingConvention().normalize_identifier


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop of this test."""
    with Shop() as running:
        yield running


def load(shop: Shop, directory: Path, *resources: str) -> None:
    """Load `resources`, or all, with dlt alone."""
    source = rest_api_source(cast(RESTAPIConfig, shop.config()))
    source.max_table_nesting = 0  # what is nested is JSON, instead of tables and columns of its own
    pipeline = dlt.pipeline(
        "shop",
        pipelines_dir=str(directory / "dlt"),
        destination=dlt.destinations.duckdb(str(directory / "warehouse.duckdb")),
        dataset_name="shop",
    )
    pipeline.run(source.with_resources(*resources) if resources else source)


def rows(directory: Path, table: str) -> list[Record]:
    """Return the rows of `table`."""
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        found = connection.execute(f"SELECT * EXCLUDE (_dlt_load_id, _dlt_id) FROM shop.{table}")
        names, types = [one[0] for one in found.description], [str(one[1]) for one in found.description]
        return [
            {
                name: json.loads(value) if kind == "JSON" and value is not None else value
                for name, kind, value in zip(names, types, row, strict=True)
            }
            for row in found.fetchall()
        ]


def by_key(listing: str, records: list[Record]) -> dict[Key, Record]:
    """Return `records` by key, without what is null: dlt makes no column of nulls alone."""
    keyed = {
        tuple(record[column_name(field)] for field in KEYS[listing]): {
            field: value for field, value in record.items() if value is not None
        }
        for record in records
    }
    assert len(keyed) == len(records)
    return keyed


def as_row(record: Record) -> Record:
    return {column_name(field): _value(field, value) for field, value in record.items()}


def _value(field: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if field.endswith("_at") and value is not None else value


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Path]:
    """A shop of which everything was loaded, once for all listings, and where to."""
    directory = tmp_path_factory.mktemp("shop")
    with Shop() as running:
        load(running, directory)
    return running, directory


@pytest.mark.parametrize("listing", LISTINGS)
def test_dlt_itself_loads_each_record_once_as_the_yaml_describes(loaded: tuple[Shop, Path], listing: str) -> None:
    shop, directory = loaded
    records = shop.records.all(listing)
    assert by_key(listing, rows(directory, listing)) == by_key(listing, [as_row(record) for record in records])
    assert records


@pytest.mark.parametrize("login", [login for login in LOGINS if login != "cookie"])  # which dlt has not written yet
def test_each_login_opens_the_shop_and_nothing_else_does(login: str, tmp_path: Path) -> None:
    with Shop(login=login) as shop:
        load(shop, tmp_path, "invoices")
        assert requests.get(f"{shop.base_url}/invoices", timeout=5).status_code == 401
    assert len(rows(tmp_path, "invoices")) == len(shop.records.all("invoices"))


def test_a_cookie_opens_the_shop() -> None:
    with Shop(login="cookie") as shop:
        cookies = {"session": TOKEN}
        assert requests.get(f"{shop.base_url}/invoices", cookies=cookies, timeout=5).status_code == 200
        assert requests.get(f"{shop.base_url}/invoices", timeout=5).status_code == 401


def test_a_token_expires_after_so_many_requests() -> None:
    with Shop(login="oauth2", token_requests=2) as shop:
        auth = shop.config()["client"]["auth"]
        form = {"grant_type": "client_credentials", **auth}
        token = requests.post(auth["access_token_url"], data=form, timeout=5).json()["access_token"]
        assert [get(shop, "stores", token=token) for _ in range(3)] == [200, 200, 401]


def test_a_second_load_asks_for_what_is_new_and_gets_it(shop: Shop, tmp_path: Path) -> None:
    load(shop, tmp_path, "orders")
    newest = max(record["updated_at"] for record in shop.records.all("orders"))
    shop.records.change("orders", (3,), label="Changed")
    shop.log.clear()
    load(shop, tmp_path, "orders")
    assert [seen.query for seen in shop.log] == [{"updated_after": newest, "page": "1"}]
    assert by_key("orders", rows(tmp_path, "orders"))[(3,)]["label"] == "Changed"


def get(shop: Shop, path: str, token: str = TOKEN) -> int:
    """Return the status of the answer to a request."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{shop.base_url}/{path}", headers=headers, timeout=5).status_code


def test_a_fault_spoils_the_pages_that_it_names_as_often_as_it_says(shop: Shop) -> None:
    shop.fail("products", 503, from_page=2, times=1)
    shop.fail("lines", 500, parent=4)
    assert [get(shop, f"products?offset={offset}") for offset in (0, 10, 10)] == [200, 503, 200]
    assert [get(shop, f"orders/{order}/lines") for order in (3, 4)] == [200, 500]
    shop.heal()
    assert get(shop, "orders/4/lines") == 200


def test_a_request_that_hangs_is_answered_when_it_is_released(shop: Shop) -> None:
    held = shop.hang("invoices", times=1)
    assert held.release
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(get, shop, "invoices")
        assert held.reached.wait(5)
        assert get(shop, "products") == 200
        assert not waiting.done()
        held.release.set()
        assert waiting.result(5) == 200


def test_a_request_that_hangs_ends_when_its_client_is_gone(shop: Shop) -> None:
    ended = Event()

    def end(right: Answer) -> Answer:
        ended.set()
        return right

    held = shop.spoil("invoices", end, release=Event())
    with socket.create_connection(("127.0.0.1", int(shop.base_url.rpartition(":")[2]))) as client:
        client.sendall(f"GET /invoices HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert held.reached.wait(5)
        assert not ended.is_set()
    assert ended.wait(5)


@pytest.mark.parametrize("path", ["products?offset=x", "payments?after=nonsense", "orders?updated_after=now"])
def test_a_parameter_that_cannot_be_is_refused(shop: Shop, path: str) -> None:
    assert get(shop, path) == 400


def test_what_is_gone_is_listed_no_more_and_neither_are_its_children(shop: Shop) -> None:
    shop.records.delete("orders", (4,))
    assert (4,) not in by_key("orders", shop.records.all("orders"))
    assert get(shop, "orders/4/lines") == 404
    assert not [line for line in shop.records.all("lines") if line["_orders_id"] == 4]
