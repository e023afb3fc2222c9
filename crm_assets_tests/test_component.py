"""An API that is described in a component's YAML, or in a file beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing.utils import create_defs_folder_sandbox

from crm_assets.component import CrmComponent
from crm_assets_tests.conftest import HARDLY_ANY, Warehouse
from crm_assets_tests.shop import CONFIG, TOKEN, Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop of this test."""
    with Shop() as running:
        yield running


def api(shop: Shop, *names: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["client"]["base_url"] = shop.base_url
    config["resource_defaults"]["endpoint"] = {"error_handler": {"backoff_factor": HARDLY_ANY}}
    config["resources"] = [row for row in config["resources"] if row["name"] in names]
    return config


def built(attributes: dict[str, Any], beside: dict[str, str] | None = None) -> dg.Definitions:
    """Return the definitions of a component with these attributes, and with these files beside its YAML."""
    with create_defs_folder_sandbox() as sandbox:
        contents = {"type": "crm_assets.CrmComponent", "attributes": {"account": "shop", **attributes}}
        path = sandbox.scaffold_component(component_cls=CrmComponent, defs_yaml_contents=contents)
        for name, text in (beside or {}).items():
            (path / name).write_text(text)
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            return defs


def loaded(defs: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    return defs.resolve_job_def("shop_all").execute_in_process(instance=instance, raise_on_error=False).success


@pytest.mark.usefixtures("warehouse")
def test_an_api_in_the_yaml_of_a_component_is_loaded_and_needs_its_secrets_only_in_a_run(
    shop: Shop, warehouse: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    defs = built({"api": api(shop, "orders", "lines", "products")})
    assert not loaded(defs, instance)
    monkeypatch.setenv("SOURCES__SHOP__TOKEN", TOKEN)
    assert loaded(defs, instance)
    found = warehouse.tables("crm_shop")
    assert {name: found[name] for name in ("orders", "lines", "products")} == {
        name: len(shop.records.all(name)) for name in ("orders", "lines", "products")
    }


def test_a_file_is_looked_for_beside_the_yaml(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__SHOP__TOKEN", TOKEN)
    defs = built({"api": "shop.yaml"}, {"shop.yaml": yaml.safe_dump(api(shop, "products"))})
    assert dg.AssetKey(["shop", "products"]) in {spec.key for spec in defs.resolve_all_asset_specs()}


def test_an_api_with_an_error_stands_there_with_the_error_and_takes_nothing_else_down(
    shop: Shop, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = api(shop, "products")
    wrong["resources"][0]["endpoint"]["paginator"]["limt"] = 10
    said = "shop.yaml: resources.products.endpoint.paginator.limt: unknown word; did you mean `limit`?"
    defs = built({"api": "shop.yaml"}, {"shop.yaml": yaml.safe_dump(wrong)})
    [spec] = defs.resolve_all_asset_specs()
    assert (spec.key, spec.group_name) == (dg.AssetKey("shop_api"), "shop")
    assert said in (spec.description or "")
    assert said in caplog.text
    assert not loaded(defs, instance)


def test_one_of_several_accounts_may_have_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_assets.accounts import configured_accounts

    (tmp_path / "shop.yaml").write_text("client: {}\nresources: []\n")
    monkeypatch.setenv("ACCOUNTS", "crm,shop")
    monkeypatch.setenv("SOURCES__SHOP__API", str(tmp_path / "shop.yaml"))
    unusable: dict[str, Any] = {}
    assert [one.name for one in configured_accounts(unusable=unusable)] == ["crm"]
    assert str(unusable["shop"]) == "shop.yaml: resources: names no resource."
