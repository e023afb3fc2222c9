"""The endpoint table is checked by name before any request."""

from copy import deepcopy
from typing import Any

import pytest

from crm_assets.apis.api import read_api
from crm_assets.apis.api_config import ApiConfig
from crm_assets.apis.v1 import V1
from crm_assets.errors import ApiConfigError


def with_change(path: list[Any], value: Any) -> ApiConfig:
    table: Any = deepcopy(V1)
    place = table
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    changed: ApiConfig = table
    return changed


def test_the_configuration_of_v1_is_valid() -> None:
    assert [resource.name for resource in read_api(V1).resources] == [row["name"] for row in V1["resources"]]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["retries"], 3, "retries: unknown key"),
        (["resources", 3, "endpoint", "pth"], "/v1/notes", "notes.endpoint.pth: unknown key"),
        (["resources", 0, "endpoint", "paginator"], {"type": "offset"}, "contacts.endpoint.paginator"),
        (["resources", 0, "endpoint", "paginator"], {"type": "offset"}, "'offset'"),
        (["resources", 0, "endpoint", "paginator", "stop_condition"], "never", "stop_condition"),
        (["resources", 5, "name"], "evnts", "have no model: evnts"),
        (["resource_defaults", "endpoint", "error_handler", "max_retries"], "many", "max_retries"),
        (["client", "auth", "type"], "bearer", "client.auth.type"),
    ],
)
def test_an_unknown_entry_is_refused_by_name(path: list[Any], value: Any, named: str) -> None:
    with pytest.raises(ApiConfigError, match=named.replace(".", r"\.")):
        read_api(with_change(path, value))


def test_an_unknown_resource_is_refused_by_name_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ApiConfigError, match=r"contcats\. Did you mean contacts\? Known: contacts, companies"):
        read_api(V1).select(["deals", "contcats"])


def test_resources_are_selected_in_the_order_of_the_table() -> None:
    assert [resource.name for resource in read_api(V1).select(["tickets", "contacts"])] == ["contacts", "tickets"]
