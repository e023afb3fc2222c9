"""Resources with other keys and write dispositions than those of `v1`, served by the sandbox as its deals."""

from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import WriteDisposition
from crm_assets.models.record import BaseRecord, BigInt, Bool, Double, Percent, Seconds, Text
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import RESOURCES, an_account, run_assets


class Price(BaseRecord):
    """What an article costs in a shop."""

    preview = ("name",)

    shop: BigInt | None = Field(None, description="Number of the shop.")
    sku: Text | None = Field(None, description="Number of the article.")
    since: Seconds | None = Field(None, description="From when on it is valid.")
    factor: Double | None = Field(None, description="A number with a fraction.")
    is_net: Bool | None = Field(None, description="Whether it is without tax.")
    name: Text | None = Field(None, description="Name of the article.")
    discount: Percent | None = Field(None, description="Discount in percent.")
    updated_time: Seconds | None = Field(None, description="When it was last changed.")


def prices(*key: str, write_disposition: WriteDisposition = "merge") -> Resource:
    """Return the resource of the prices with the columns `key` as its primary key; `id` is then undeclared."""
    model = RESOURCES["deals"].model if key == ("id",) else Price
    return replace(RESOURCES["deals"], model=model, primary_key=key, write_disposition=write_disposition)


def account_of(resource: Resource) -> Account:
    """Return the account that loads `resource` alone."""
    return replace(an_account(), resources=(resource,))


def fill(sandbox: Sandbox, count: int = 120) -> list[Any]:
    """Put `count` prices in the place of the deals, and return what the CRM calls them."""
    for record in list(sandbox.crm.records("deals")):
        sandbox.crm.delete("deals", record["id"])
    return [sandbox.crm.create("deals", price(number))["id"] for number in range(count)]


def price(number: int) -> dict[str, Any]:
    """Return price `number`. No two have the same value in all columns of any key that is tried."""
    return {
        "shop": str(number % 7),
        "sku": f"{number}, sku={number // 7}\\",
        "since": 1_700_000_000 + number,
        "factor": number / 8,
        "is_net": number % 2 == 1,
        "name": f"Article {number}",
        "discount": 5,
        "updated_time": 1_700_000_000,
    }


def load(instance: dg.DagsterInstance, resource: Resource, *, allow_deletes: bool = False) -> dict[str, int]:
    """Load `resource` alone, and return the counts of its materialization; 0 for one that it leaves out."""
    result = run_assets(instance, ["deals"], account=account_of(resource), allow_deletes=allow_deletes)
    assert result.success
    [event, *_] = result.get_asset_materialization_events()  # that of the history comes after it
    found = event.materialization.metadata
    names = ("rows_new", "rows_changed", "rows_deleted", "rows_missing", "rows_rejected")
    return {name: int(str(found[name].value)) if name in found else 0 for name in names}


def failed_checks(instance: dg.DagsterInstance, resource: Resource) -> dict[str, tuple[str, str, list[Any]]]:
    """Load `resource` alone, and return severity, words and failed rows of each check that fails."""
    result = run_assets(instance, ["deals"], account=account_of(resource))
    assert result.success
    return {
        one.check_name: (one.severity.value, str(one.description), _failed_rows(one))
        for one in result.get_asset_check_evaluations()
        if not one.passed
    }


def _failed_rows(one: dg.AssetCheckEvaluation) -> list[Any]:
    table: Any = one.metadata.get("failed_rows")
    return [record.data for record in table.value.records] if table else []
