"""The APIs that keep the contract: how each is served, read and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import orjson

from crm_assets.account import Account
from crm_assets.component import CrmComponent
from crm_assets.models.columns import Column, column_name
from crm_assets.project import data_directory
from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, HARDLY_ANY
from crm_assets_tests.contract import ApiUnderTest, Key, Row, Served, Table
from crm_assets_tests.sandbox_apis import RESOURCES_OF, account_of, parents_in, records_of
from crm_assets_tests.shop import LISTINGS, PAGE, TOKEN, Shop
from crm_assets_tests.shop_records import KEYS, PARENTS, Record

PATIENCE = 30.0
"""Seconds within which a run has asked for what it is to wait for."""
CHANGED = "Changed ☂"
OTHER: dict[str, Any] = {
    "bigint": "12",
    "text": 7,
    "bool": "true",
    "double": 3,
    "timestamp": "2024-05-06T07:08:09+02:00",
    "json": {"other": [1, "x", None]},
}
"""A value for a declared column of each type, of another kind than the API's usual one."""
FINDING = {
    "notes": ("contact_ids", "deal_ids"),
    "documents": ("contact_ids",),
    "tickets": ("filter_ids",),
    "events": ("start", "end"),
}
"""The fields by which `agilecrm` finds a record, or which say where it was found."""


class _ServedSandbox(Served):
    """The sandbox, through one of its APIs, with pages of ten records."""

    def __init__(self, api: ApiName, sandbox: Sandbox) -> None:
        self._api = api
        self._resources = RESOURCES_OF[api]
        self._sandbox = sandbox
        self._crm = sandbox.crm

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SOURCES__CRM__BASE_URL": self._sandbox.base_url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
            "SOURCES__CRM__PAGE_SIZE": "10",
        }

    def account(self, directory: Path) -> Callable[[], Account]:
        # Deletes are found by listing everything, what else may be new or not.
        return partial(account_of, self._api, sync={"mode": "full"})

    def table(self, resource: str) -> Table:
        columns = self._resources[resource].columns
        records = sorted(records_of(self._api, self._sandbox, resource), key=partial(self._rank, resource))
        return {
            (int(record["id"]),): {column.name: _converted(column, record.get(column.field)) for column in columns}
            for record in records
        }

    def _rank(self, resource: str, record: Record) -> float:
        """Return by what the API sorts the records of `resource`: what is last in the table is on the last page."""
        match self._api, resource:
            case "agilecrm", "companies":
                created = _moment(record.get("created_time") or 0)
                return -created.timestamp() if created else 0.0
            case "agilecrm", "tasks":
                return record.get("status") == "COMPLETED"
        return 0.0

    def create(self, resource: str) -> None:
        record = self._crm.create(resource)
        if (self._api, resource) == ("agilecrm", "companies"):
            self._crm.update(resource, record["id"], created_time=1)  # on the last page

    def change(self, resource: str, key: Key) -> None:
        field = next(column.field for column in self._others(resource) if column.data_type.name == "text")
        self._crm.update(resource, key[0], **{field: CHANGED})

    def empty(self, resource: str, key: Key) -> None:
        self._crm.update(resource, key[0], **{column.field: None for column in self._others(resource)})

    def recast(self, resource: str, key: Key) -> None:
        self._crm.update(
            resource, key[0], **{column.field: OTHER[column.data_type.name] for column in self._others(resource)}
        )

    def delete(self, resource: str, key: Key) -> None:
        self._crm.delete(resource, key[0])

    def fail(self, resource: str) -> None:
        if parents := parents_in(self._api, resource):
            third = list(self._crm.records(parents[-1]))[2]
            self._sandbox.fault(Fault(resource, "status", parent=str(third["id"])))
        else:
            self._sandbox.fault(Fault(resource, "status", after=1 if self._resources[resource].has_pages else 0))

    def hold(self) -> Callable[[], None]:
        asked = self._sandbox.requests["contacts"] + 3
        self._sandbox.fault(Fault("contacts", "hang", after=2))

        def wait() -> None:
            end = monotonic() + PATIENCE
            while self._sandbox.requests["contacts"] < asked:
                assert monotonic() < end
                Event().wait(0.01)  # the sandbox tells nobody when

        return wait

    def heal(self) -> None:
        self._sandbox.clear_faults()

    def _others(self, resource: str) -> list[Column]:
        """Return the columns that decide neither which record it is nor whether the API finds it."""
        fixed = {"id", *FINDING.get(resource, ())} if self._api == "agilecrm" else {"id"}
        return [column for column in self._resources[resource].columns if column.field not in fixed]


def _converted(column: Column, value: Any) -> Any:
    """Return what the column holds of a value of the sandbox; written apart from what is tested."""
    kind = column.data_type.name
    if value is None or kind == "json":
        return value
    match kind:
        case "text":
            return value if isinstance(value, str) else str(value)
        case "bool":
            return value in (True, "true")
        case "timestamp":
            return _moment(value)
    return {"bigint": int, "double": float}[kind](value) if value != "" else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and not value.isdecimal():
        return datetime.fromisoformat(value) if value else None
    number = int(value)
    return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC) if number else None


@contextmanager
def _serve_sandbox(api: ApiName) -> Iterator[Served]:
    counts = dict.fromkeys(RESOURCES_OF[api], 12) | {"contacts": 45, "companies": 25, "deals": 32, "campaigns": 23}
    with Sandbox(counts, email=EMAIL, api_key=API_KEY, api=api) as sandbox:
        yield _ServedSandbox(api, sandbox)


def _sandbox_api(api: ApiName) -> ApiUnderTest:
    names = RESOURCES_OF[api]
    parents = {name: found for name in names if (found := parents_in(api, name))}
    return ApiUnderTest(api, dict.fromkeys(names, ("id",)), partial(_serve_sandbox, api), parents)


class _ServedShop(Served):
    """The shop, described by its YAML file."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._records = shop.records

    @property
    def settings(self) -> dict[str, str]:
        return {"SOURCES__SHOP__TOKEN": TOKEN}

    def account(self, directory: Path) -> Callable[[], Account]:
        config = self._shop.config()
        config["client"]["auth"]["token"] = "{{ dlt.secrets.token }}"
        patience = {"retry_on_status_codes": [503], "max_retries": 2, "backoff_factor": 0.01}
        config["resource_defaults"]["endpoint"] = {"error_handler": patience}
        # Deletes are found by listing everything, what else may be new or not.
        attributes = {"account": "shop", "api": config, "sync": {"mode": "full"}}
        return partial(_mounted, orjson.dumps(attributes).decode())  # which is YAML, too

    def table(self, resource: str) -> Table:
        return {_key(resource, record): _as_row(record) for record in self._records.all(resource)}

    def create(self, resource: str) -> None:
        parent = None
        if resource in PARENTS:
            name, field = PARENTS[resource]
            parent = self._records.all(name)[0][field]
        self._records.create(resource, parent)

    def change(self, resource: str, key: Key) -> None:
        self._records.change(resource, key, label=CHANGED)

    def empty(self, resource: str, key: Key) -> None:
        self._records.change(resource, key, **dict.fromkeys(self._others(resource, key)))

    def recast(self, resource: str, key: Key) -> None:
        fields = self._others(resource, key)
        self._records.change(resource, key, **{field: _recast(field, value) for field, value in fields.items()})

    def delete(self, resource: str, key: Key) -> None:
        self._records.delete(resource, key)

    def fail(self, resource: str) -> None:
        if resource in PARENTS:
            parent, field = PARENTS[resource]
            self._shop.fail(resource, parent=self._records.all(parent)[2][field])
        else:
            self._shop.fail(resource, from_page=2 if LISTINGS[resource].size == PAGE else 1)

    def hold(self) -> Callable[[], None]:
        fault = self._shop.hang("products", from_page=3)

        def wait() -> None:
            assert fault.reached.wait(PATIENCE)

        return wait

    def heal(self) -> None:
        self._shop.heal()

    def _others(self, resource: str, key: Key) -> Record:
        [record] = [one for one in self._records.all(resource) if _key(resource, one) == key]
        ours = (*KEYS[resource], "updated_at")
        return {field: value for field, value in record.items() if field not in ours and field[0] != "_"}


def _mounted(attributes: str) -> Account:
    """Return the account of a component whose YAML has these attributes."""
    component: CrmComponent = CrmComponent.resolve_from_yaml(attributes, scope=CrmComponent.get_additional_scope())
    return replace(component.resolved(Path()), retry_pause=HARDLY_ANY, data_dir=data_directory())


def _key(resource: str, record: Record) -> Key:
    return tuple(record[field] for field in KEYS[resource])


def _as_row(record: Record) -> Row:
    return {
        column_name(field): datetime.fromisoformat(value) if field.endswith("_at") and value else value
        for field, value in record.items()
    }


def _recast(field: str, value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return -(2**40)
        case float():
            return 2
        case dict() | list():
            return OTHER["json"]
    return OTHER["timestamp"] if field.endswith("_at") else "12"


@contextmanager
def _serve_shop() -> Iterator[Served]:
    with Shop() as shop:
        yield _ServedShop(shop)


V1 = _sandbox_api("v1")
AGILECRM = _sandbox_api("agilecrm")
SHOP = ApiUnderTest(
    "shop",
    {listing: tuple(map(column_name, KEYS[listing])) for listing in LISTINGS},
    _serve_shop,
    {child: (parent,) for child, (parent, _) in PARENTS.items()},
    frozenset({"settings"}),
)
APIS = (V1, AGILECRM, SHOP)
"""The APIs that are tested."""
