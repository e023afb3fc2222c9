"""The configuration of an API is checked as a whole, by name, before any request."""

from copy import deepcopy
from typing import Any

import pytest

from crm_assets.apis.api import read_api
from crm_assets.errors import ApiConfigError
from crm_assets_tests.conftest import V1

SHOP: Any = {
    "client": {"base_url": "https://shop.example.com", "auth": {"type": "bearer", "token": "{{ env.TOKEN }}"}},
    "resource_defaults": {
        "primary_key": "id",
        "write_disposition": "merge",
        "endpoint": {"paginator": {"type": "offset", "limit": 50}, "error_handler": {"max_retries": 1}},
    },
    "resources": [
        "products",
        {
            "name": "orders",
            "endpoint": {
                "path": "orders",
                "params": {"since": "{incremental.start_value}"},
                "incremental": {"cursor_path": "updated_at", "initial_value": "2024-01-01T00:00:00Z"},
                "response_actions": [{"status_code": 404, "action": "ignore"}],
            },
        },
        {
            "name": "lines",
            "primary_key": ["order_id", "position"],
            "include_from_parent": ["id"],
            "endpoint": {"path": "orders/{resources.orders.id}/lines", "data_selector": "lines"},
        },
        {
            "name": "comments",
            "remove_fields": ["cursor"],
            "endpoints": [
                {
                    "path": "orders/{resources.orders.id}/comments",
                    "collect_from_parent": {"order_ids": "id"},
                    "total_field": "count",
                },
                {
                    "path": "comments/lost",
                    "method": "POST",
                    "data": {"kind": "lost"},
                    "paginator": {
                        "type": "cursor",
                        "limit": 10,
                        "limit_body_path": "size",
                        "maximum_limit": 100,
                        "cursor_body_path": "cursor",
                    },
                },
            ],
        },
        {
            "name": "shifts",
            "endpoint": {"path": "shifts", "paginator": {"type": "time_window", "start": 0, "span_days": 7}},
        },
        {
            "name": "customers",
            "endpoint": {
                "path": "customers",
                "incremental": {
                    "cursor_path": ["updated_at", "created_at"],
                    "initial_value": 0,
                    "endpoints": [{"path": "changes", "params": {"since": "{incremental.start_value}"}}],
                },
            },
        },
    ],
}
"""An API with one of each: what the cases below spoil."""
ORDERS, LINES = ["resources", 1, "endpoint"], ["resources", 2, "endpoint"]
COMMENTS, SHIFTS = ["resources", 3, "endpoints"], ["resources", 4, "endpoint"]
CUSTOMERS = ["resources", 5, "endpoint", "incremental"]


def spoiled(path: list[Any], value: Any) -> Any:
    config = deepcopy(SHOP)
    place = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return config


def test_the_configuration_of_v1_is_valid() -> None:
    assert [resource.name for resource in read_api(V1).resources] == [row["name"] for row in V1["resources"]]


def test_short_forms_are_written_out_and_defaults_filled_in_as_dlt_does() -> None:
    products, orders, lines, *_ = read_api(SHOP).resources
    assert products.endpoint["path"] == "products"
    assert products.endpoint["paginator"] == {"type": "offset", "limit": 50}
    assert products.error_handler == {
        "retry_on_status_codes": [429, 500, 502, 503, 504],
        "max_retries": 1,
        "backoff_factor": 2,
    }
    assert (orders.primary_key, orders.write_disposition, orders.cadence) == (("id",), "merge", "daily")
    assert (lines.primary_key, lines.parent, lines.include_from_parent) == (("order_id", "position"), "orders", ("id",))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["clinet"], {}, "clinet: unknown word; did you mean `client`?"),
        (["client"], {"base_ulr": "x"}, "client.base_ulr: unknown word; did you mean `base_url`?"),
        (["client", "requests_per_second"], 0, "client.requests_per_second: must be greater than 0 (got 0)"),
        (["client", "requests_per_second"], float("inf"), "client.requests_per_second: must be a finite number"),
        (["client", "requests_per_second"], 2, None),
        (["client", "concurrency"], 0, "client.concurrency: must be greater than or equal to 1 (got 0)"),
        (["client", "concurrency"], 65, "client.concurrency: must be less than or equal to 64 (got 65)"),
        (["client", "concurrency"], 2.5, "client.concurrency: must be a valid integer"),
        (["client", "concurency"], 2, "client.concurency: unknown word; did you mean `concurrency`?"),
        (["client", "session"], None, "client.session: remove it"),
        (["client", "auth", "type"], "barer", "client.auth.type: 'barer' is not an auth; did you mean `bearer`?"),
        (["client", "auth", "tokn"], "x", "client.auth.tokn: unknown word; did you mean `token`?"),
        (["client", "auth"], {"type": "basic", "username": "me"}, "client.auth.password: is missing"),
        (["client", "auth"], "bearer", "client.auth: write {type: bearer, ...} with the login"),
        (["client", "paginator"], "auto", "client.paginator: `auto` is refused"),
        (
            ["resource_defaults", "primry_key"],
            "id",
            "resource_defaults.primry_key: unknown word; did you mean `primary",
        ),
        (["resource_defaults", "write_disposition"], "upsert", "resource_defaults.write_disposition: must be 'merge'"),
        (
            ["resource_defaults", "endpoint", "error_handler", "max_retires"],
            3,
            "resource_defaults.endpoint.error_handler.max_retires: unknown word; did you mean `max_retries`?",
        ),
        (["resources"], [], "resources: names no resource"),
        (["resources", 0], {"nme": "products"}, "resources.0.nme: unknown word; did you mean `name`?"),
        (["resources", 0], "Products", "resources.Products.name: 'Products' cannot be the name of a table"),
        (["resources", 0], "orders", "resources.orders.name: 'orders' comes twice"),
        (["resources", 0], "resource_loads", "resources.resource_loads.name: the table 'resource_loads' is one of"),
        (["resources", 2, "primary_key"], 5, "resources.lines.primary_key: must be the name of a field"),
        (["resources", 2, "max_table_nesting"], 0, "resources.lines.max_table_nesting: remove it: a nested value"),
        (["resources", 2, "model"], "no.such:Model", "resources.lines.model: 'no.such:Model' cannot be imported"),
        (["resources", 2, "model"], "builtins:dict", "resources.lines.model: 'builtins:dict' is not a model"),
        (
            ["resources", 2, "model"],
            "crm_assets.models.deal:Deal",
            "resources.lines.model: Deal does not declare order_id, position, of the primary key, as required",
        ),
        (["resources", 2, "columns"], {"n": {"data_type": "int"}}, "resources.lines.columns.n.data_type: must be 'big"),
        (["resources", 2, "processing_steps"], [{"map": "f"}], "lines.processing_steps.0.map: must be a function"),
        ([*ORDERS, "methd"], "GET", "resources.orders.endpoint.methd: unknown word; did you mean `method`?"),
        ([*ORDERS, "method"], "PUT", "resources.orders.endpoint.method: must be 'GET', 'POST'"),
        ([*ORDERS, "paginator"], {"type": "ofset"}, "orders.endpoint.paginator.type: 'ofset' is not a paginator; did"),
        ([*ORDERS, "paginator"], {"type": "offset"}, "resources.orders.endpoint.paginator.limit: is missing"),
        (
            [*ORDERS, "paginator"],
            {"type": "auto"},
            "orders.endpoint.paginator.type: `auto` is refused: where it guesses",
        ),
        (
            [*ORDERS, "paginator"],
            {"type": "page_number", "total_pth": "n"},
            "orders.endpoint.paginator.total_pth: unknown word; did you mean `total_path`?",
        ),
        (
            [*ORDERS, "paginator"],
            {"type": "page_number", "page_param": "p", "page_body_path": "p"},
            "orders.endpoint.paginator: has both `page_param` and `page_body_path`; keep one",
        ),
        (
            [*ORDERS, "paginator"],
            {"type": "page_number", "total_path": None, "stop_after_empty_page": False},
            "orders.endpoint.paginator: nothing ends it",
        ),
        (
            [*ORDERS, "paginator"],
            {"type": "cursor", "limit": 100, "cursor_param": "cursor", "stop_condition": "never"},
            "orders.endpoint.paginator.stop_condition: must be `not last_record.get('<field>')`",
        ),
        ([*ORDERS, "data_selector"], "data[", "resources.orders.endpoint.data_selector: is not a JSONPath"),
        ([*ORDERS, "incremental"], {"cursor_pth": "x"}, "incremental.cursor_pth: unknown word; did you mean `cur"),
        (
            [*ORDERS, "incremental", "cursor_path"],
            "a.b",
            "incremental.cursor_path: must be a field of the record itself",
        ),
        ([*ORDERS, "incremental", "initial_value"], None, "orders.endpoint.incremental.initial_value: is missing"),
        ([*LINES, "params"], {"since": {"type": "incremental"}}, "endpoint.params.since.cursor_path: is missing"),
        ([*ORDERS, "params"], {"a": "x"}, "orders.endpoint.incremental: nothing asks for what is newer"),
        ([*ORDERS, "params", "b"], "{incremental.start}", "orders.endpoint.params: {incremental.start} must be one of"),
        (
            [*ORDERS, "response_actions"],
            [{"status_code": 404}],
            "orders.endpoint.response_actions.0.action: is missing",
        ),
        ([*ORDERS, "json"], {"a": 1}, None),
        ([*ORDERS, "path"], "orders/{id}/lines", "orders.endpoint.path: {id} means nothing here"),
        ([*LINES, "path"], "orders/{resources.orders.id/lines", "lines.endpoint.path: has braces that do not match"),
        (
            [*LINES, "path"],
            "orders/{resources.oders.id}/lines",
            "refers to the resource 'oders', which is not there; did",
        ),
        ([*LINES, "path"], "lines", "lines.include_from_parent: has no parent; name one in endpoint.path"),
        ([*LINES, "path"], "{resources.lines.id}", "resources.lines.endpoint: refers to itself"),
        ([*LINES, "params"], {"a": "{resources.products.id}"}, "lines.endpoint: refers to several parents"),
        (["resources", 3, "endpoint"], {"path": "comments"}, "comments: has both `endpoint` and `endpoints`; keep one"),
        (COMMENTS, [], "comments.endpoints: names no endpoint"),
        ([*COMMENTS, 0, "pth"], "x", "comments.endpoints.0.pth: unknown word; did you mean `path`?"),
        ([*COMMENTS, 0, "path"], "comments", "comments.endpoints.0.collect_from_parent: has no parent"),
        ([*COMMENTS, 0, "path"], "{resources.ordrs.id}", "comments.endpoint: refers to the resource 'ordrs', which is"),
        ([*COMMENTS, 1, "path"], "{resources.comments.id}", "comments.endpoint: refers to itself"),
        (
            [*COMMENTS, 1, "incremental"],
            {"cursor_path": "at", "start_param": "since"},
            "comments.endpoints: `incremental` is for a resource with one endpoint",
        ),
        (
            ["resources", 3, "include_from_parent"],
            ["id"],
            "comments.include_from_parent: is for a resource with one endpoint; use endpoint.collect_from_parent",
        ),
        (
            [*COMMENTS, 1, "paginator", "cursor_param"],
            "cursor",
            "comments.endpoints.1.paginator: has both `cursor_param` and `cursor_body_path`; keep one",
        ),
        (
            [*COMMENTS, 1, "paginator"],
            {"type": "cursor", "limit": 10},
            "comments.endpoints.1.paginator.cursor_param: is missing",
        ),
        ([*COMMENTS, 1, "paginator", "maximum_limit"], 0, "paginator.maximum_limit: must be greater than or equal"),
        (
            [*SHIFTS, "paginator"],
            {"type": "time_window", "start": 0},
            "shifts.endpoint.paginator.span_days: is missing",
        ),
        ([*SHIFTS, "paginator"], "time_window", "shifts.endpoint.paginator: `time_window` needs more than its name"),
        ([*CUSTOMERS, "cursor_path"], [], "customers.endpoint.incremental.cursor_path: must be the name of a field"),
        ([*CUSTOMERS, "cursor_path"], ["a.b"], "incremental.cursor_path: must be a field of the record itself"),
        (
            [*CUSTOMERS, "endpoints", 0, "params"],
            {},
            "customers.endpoint.incremental.endpoints.0: does not ask for what is newer",
        ),
        (
            [*CUSTOMERS, "endpoints", 0, "incremental"],
            {"cursor_path": "at", "start_param": "since"},
            "incremental.endpoints.0.incremental: is that of the endpoint for the whole listing; remove it here",
        ),
        (
            [*CUSTOMERS, "endpoints", 0, "paginator"],
            {"type": "ofset"},
            "incremental.endpoints.0.paginator.type: 'ofset' is not a paginator; did you mean `offset`?",
        ),
    ],
)
def test_a_wrong_entry_is_one_line_with_its_place_and_its_remedy(path: list[Any], value: Any, said: str | None) -> None:
    if said is None:
        read_api(spoiled(path, value))
        return
    with pytest.raises(ApiConfigError) as error:
        read_api(spoiled(path, value), "shop.yaml")
    lines = str(error.value).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("shop.yaml: ")
    assert said in lines[0]


def test_merge_without_a_primary_key_is_refused() -> None:
    config = spoiled(["resource_defaults"], {"write_disposition": "merge"})
    with pytest.raises(ApiConfigError, match=r"resources\.products\.write_disposition: `merge` needs `primary_key`"):
        read_api(config)


def test_resources_that_refer_to_each_other_in_a_circle_are_refused() -> None:
    config = spoiled([*ORDERS, "path"], "{resources.lines.position}")
    with pytest.raises(ApiConfigError, match=r"refer to each other in a circle: orders, lines|circle: lines, orders"):
        read_api(config)


def test_all_faults_of_a_configuration_are_told_at_once() -> None:
    config = spoiled(["client", "paginator"], "auto")
    config["resources"][1]["endpoint"]["paginator"] = {"type": "offset"}
    with pytest.raises(ApiConfigError) as error:
        read_api(config)
    assert len(str(error.value).splitlines()) == 2


def test_an_unknown_resource_is_refused_by_name_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ApiConfigError, match=r"contcats\. Did you mean contacts\? Known: contacts, companies"):
        read_api(V1).select(["deals", "contcats"])


def test_resources_are_selected_in_the_order_of_the_table() -> None:
    assert [resource.name for resource in read_api(V1).select(["tickets", "contacts"])] == ["contacts", "tickets"]
