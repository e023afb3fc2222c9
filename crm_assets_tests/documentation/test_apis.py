"""What docs/apis.md shows holds: its first file is loaded, its rows are the shop's, its logins are the shop's."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crm_assets.apis.api import load_api, read_api
from crm_assets.apis.files import find_config
from crm_assets.project import ROOT
from crm_assets_tests.conftest import COMMAND, Command
from crm_assets_tests.documentation.markdown import Block, blocks_of
from crm_assets_tests.shop import CONFIG, LOGINS, TOKEN, Shop

SHOWN = list(blocks_of("docs/apis.md"))
SHOP: Any = yaml.safe_load(CONFIG.read_text())
FRAGMENTS: list[Any] = [yaml.safe_load(block.text) for block in SHOWN if block.language == "yaml" and not block.place]
SHIPPED: Any = find_config("agilecrm", ROOT)[0]
ROWS = [row for fragment in FRAGMENTS if isinstance(fragment, list) for row in fragment]
DEFAULTS = [fragment["resource_defaults"] for fragment in FRAGMENTS if "resource_defaults" in fragment]
AUTHS = [fragment["auth"] for fragment in FRAGMENTS if "auth" in fragment]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_row_is_one_that_tests_load(row: dict[str, Any]) -> None:
    shipped = [_shown(one, row) for one in SHIPPED["resources"]]
    assert row in SHOP["resources"] or row in shipped


@pytest.mark.parametrize("shown", DEFAULTS)
def test_defaults_are_those_of_an_api_that_comes_along(shown: dict[str, Any]) -> None:
    assert shown == _shown(SHIPPED["resource_defaults"], shown)


def _shown(whole: Any, shown: Any) -> Any:
    """Return the part of `whole` that has the words of `shown`: an example may leave out what it is not about."""
    if isinstance(whole, dict) and isinstance(shown, dict):
        return {word: _shown(value, shown[word]) for word, value in whole.items() if word in shown}
    if isinstance(whole, list) and isinstance(shown, list) and len(whole) == len(shown):
        return [_shown(one, other) for one, other in zip(whole, shown, strict=True)]
    return whole


def test_every_paginator_of_the_shop_is_shown() -> None:
    def kinds(rows: list[dict[str, Any]]) -> set[str]:
        named = [row["endpoint"].get("paginator") for row in rows if "endpoint" in row]
        return {one if isinstance(one, str) else one["type"] for one in named if one}

    assert kinds(SHOP["resources"]) <= kinds(ROWS)


def test_every_login_is_shown_and_valid() -> None:
    assert {auth["type"].replace("http_", "") for auth in AUTHS} == {
        login["type"].replace("http_", "") for login in LOGINS.values()
    }
    for auth in AUTHS:
        assert read_api({"client": {"auth": auth}, "resources": ["a"]}).references


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop of this test."""
    with Shop() as running:
        yield running


@pytest.fixture
def reader(shop: Shop, tmp_path: Path, settings: dict[str, str]) -> Command:
    """Run `crm-assets` for somebody who has written the files of the page, with their own address and token."""
    for block in SHOWN:
        if block.place and block.language in ("yaml", "toml"):
            file = tmp_path / (block.place if "/" in block.place else f".dlt/{block.place}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_own(block, shop))

    given = {"DLT_PROJECT_DIR": str(tmp_path), "SOURCES__CRM__BASE_URL": shop.base_url}
    env = {name: value for name, value in settings.items() if not name.startswith("SOURCES__")} | given

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        # In a process of its own: dlt reads the files of a project once.
        return subprocess.run([COMMAND, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def _own(block: Block, shop: Shop) -> str:
    return block.text.replace("https://api.example.com", shop.base_url).replace("your token", TOKEN)


@pytest.mark.thorough
def test_the_first_file_is_loaded(reader: Command, shop: Shop) -> None:
    pinged = reader("ping")
    assert pinged.returncode == 0, pinged.stderr
    synced = reader("sync")
    assert synced.returncode == 0, synced.stderr
    assert f"customers    {len(shop.records.all('customers'))}" in synced.stdout


@pytest.mark.thorough
def test_a_row_and_a_model_are_written_from_a_page(reader: Command, shop: Shop, tmp_path: Path) -> None:
    [command] = [block.text for block in SHOWN if "init-resource" in block.text]
    written = reader(*command.split()[2:])
    assert written.returncode == 0, written.stderr
    assert "sku (key)" in written.stdout
    products = load_api("apis/shop.yaml", tmp_path).resource("products")
    assert products.primary_key == ("sku",)
    assert products.endpoint["data_selector"] == "items"
    assert products.endpoint["paginator"] == {"type": "offset", "limit": 10, "total_path": "total"}
    assert products.model
    types = {column.name: column.data_type.name for column in products.columns}
    assert types["unit_price"] == "double"
    assert types["created_at"] == "timestamp"
    assert types["details"] == "json"
    assert all(column.description.startswith("Example: ") for column in products.columns)
    synced = reader("sync", "products")
    assert synced.returncode == 0, synced.stderr
    assert f"products    {len(shop.records.all('products'))}" in synced.stdout
    again = reader(*command.split()[2:])
    assert again.returncode == 2
    assert "has a resource products already" in again.stderr


@pytest.mark.thorough
def test_a_row_is_written_into_a_python_file_too(reader: Command, tmp_path: Path) -> None:
    python = """
import dlt

SHOP = {
    "client": {"auth": {"type": "bearer", "token": dlt.secrets["token"]}},
    "resources": [
        {"name": "customers", "endpoint": {"data_selector": "results", "paginator": "json_link"}},  # the people
    ],
}
"""
    (tmp_path / "apis" / "shop.py").write_text(python)
    (tmp_path / ".dlt" / "config.toml").write_text('[sources.crm]\napi = "apis/shop.py"\n')
    written = reader("init-resource", "invoices", "--path", "/invoices")
    assert written.returncode == 0, written.stderr
    api = load_api("apis/shop.py", tmp_path)
    assert [one.name for one in api.resources] == ["customers", "invoices"]
    assert api.resource("invoices").endpoint["paginator"] == {"type": "header_link"}
    assert "# the people" in (tmp_path / "apis" / "shop.py").read_text()
