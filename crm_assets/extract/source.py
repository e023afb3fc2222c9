"""The CRM as a dlt source."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dlt
from dlt.extract import DltResource
from dlt.sources.rest_api import rest_api_resources

from crm_assets.apis.api_config import ApiConfig, Resource, select, validated
from crm_assets.apis.v1 import V1
from crm_assets.errors import SettingError
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.rest_api import rest_api_config
from crm_assets.models.rows import to_row

TABLES: Mapping[str, ApiConfig] = {"v1": V1}
"""The endpoint table of each API of the CRM, by the value of `sources.crm.api`."""


def crm_resources(
    table: ApiConfig, connection: Connection, names: Sequence[str] | None = None
) -> tuple[list[DltResource], dict[str, Traffic]]:
    """Return one dlt resource per selected row of `table`, and where each counts what it costs.

    The records are as the CRM sent them, without the page cursor.

    Args:
        table: the endpoint table of the API.
        connection: address, login and limits.
        names: the resources to select; all of them for None.

    Raises:
        ApiConfigError: the table has an unknown entry, or a name is not in it.
    """
    rows = select(validated(table), names)
    traffic = {row["name"]: Traffic() for row in rows}
    return [crm_resource(table, row, connection, traffic[row["name"]]) for row in rows], traffic


def crm_resource(
    table: ApiConfig, row: Resource, connection: Connection, traffic: Traffic, start: str | None = None
) -> DltResource:
    """Return the dlt resource of one row of `table`.

    Args:
        table: the endpoint table of the API.
        row: one of its rows.
        connection: address, login and limits.
        traffic: where it counts what it costs.
        start: cursor of the page to begin with; None for the first.
    """
    [resource] = rest_api_resources(rest_api_config(table, row, connection, traffic, start))
    return resource


@dlt.source(name="crm", section="crm", max_table_nesting=0)
def crm_source(
    base_url: str = dlt.config.value,
    email: str = dlt.secrets.value,
    api_key: str = dlt.secrets.value,
    api: str = "v1",
    page_size: int | None = None,
    resources: Sequence[str] | None = None,
) -> Any:
    """Return the CRM as an ordinary dlt source, for a pipeline of your own.

    Records come with the types of their models: ids as integers, times in UTC, nested values as JSON.

    Args:
        base_url: address of the CRM, e.g. `https://api.example.com`; setting `sources.crm.base_url`.
        email: user name of the login; secret `sources.crm.email`.
        api_key: password of the login; secret `sources.crm.api_key`.
        api: which API of the CRM to ask; the known ones are the keys of `TABLES`.
        page_size: records per page; None for the limit that the endpoint table names.
        resources: names of the resources to load; all of them for None.

    Raises:
        SettingError: `api` is not known.
        ApiConfigError: a name in `resources` is not known.
    """
    if api not in TABLES:
        raise SettingError(f"sources.crm.api is {api!r}. Known: {', '.join(TABLES)}.")
    selected, _ = crm_resources(TABLES[api], Connection(base_url, email, api_key, page_size), resources)
    for resource in selected:
        resource.add_map(partial(to_row, resource.name))
    return selected
