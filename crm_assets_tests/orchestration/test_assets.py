"""The assets: what a run brings to the warehouse, and what it says."""

import json
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from crm_assets.account import Account
from crm_assets.definitions import defs
from crm_assets.extract.spool import Spooled
from crm_assets.models.columns import column_name, columns_of
from crm_assets.models.kinds import kind_of, least_type
from crm_assets.models.record import BigInt, Text
from crm_assets.models.values import CONVERT
from crm_assets.orchestration.keys import asset_key
from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import (
    API_KEY,
    EMAIL,
    SMALL,
    Materialize,
    Warehouse,
    an_account,
    declaring,
    failure_of,
    run_assets,
    some,
)
from crm_assets_tests.sandbox_apis import account_of

DUCKDB = {
    "bigint": "BIGINT",
    "text": "VARCHAR",
    "bool": "BOOLEAN",
    "double": "DOUBLE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "json": "JSON",
}


def expected_rows(sandbox: Sandbox, resource: str) -> dict[int, dict[str, Any]]:
    """Return what the table must hold: each record of the CRM by id, converted value by value."""
    declared = {column.field: column.data_type.name for column in columns_of(MODELS[resource])}
    records = list(sandbox.crm.records(resource))
    kinds = {
        field: {kind_of(record[field]) for record in records if record.get(field) is not None}
        for field in {field for record in records for field in record}
    }
    types = {field: declared.get(field) or least_type(found) for field, found in kinds.items()}
    return {
        int(record["id"]): {
            column_name(field): None if value is None else CONVERT[types[field] or "text"](value)
            for field, value in record.items()
        }
        for record in records
    }


def rows(warehouse: Warehouse, resource: str) -> dict[int, dict[str, Any]]:
    names = list(warehouse.columns(resource))
    selected = ", ".join(f'"{name}"' for name in names)
    found = warehouse.query(f"SELECT {selected} FROM crm.{resource}")
    return {row[names.index("id")]: dict(zip(names, row, strict=True)) for row in found}


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    return [str(event.asset_key.path[-1]) for event in result.get_asset_materialization_events() if event.asset_key]


def test_one_run_brings_every_record_once_with_every_value_as_declared(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    assert materialize().success
    assert warehouse.tables() == {**SMALL, "rejected_records": 0}
    for resource in MODELS:
        wanted, found = expected_rows(sandbox, resource), rows(warehouse, resource)
        assert found.keys() == wanted.keys()
        for record_id, record in wanted.items():
            held = found[record_id]
            assert {name: held[name] for name in record} == record
            assert not [
                name for name, value in held.items() if value is not None and name not in {*record, "_dlt_load_id"}
            ]


@pytest.mark.parametrize("resource", ["contacts", "tickets", "milestone"])
def test_every_declared_column_has_its_type_and_every_undeclared_field_that_of_its_values(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, resource: str
) -> None:
    sandbox.crm.create(resource, {"id": 4711, "brandNew": [{"a": 1}], "plan": "pro", "seats": 5})
    assert materialize([resource]).success
    columns = warehouse.columns(resource)
    declared = {column.name: DUCKDB[column.data_type.name] for column in columns_of(MODELS[resource])}
    assert {name: columns[name] for name in declared} == declared
    assert [columns[name] for name in ("brand_new", "plan", "seats")] == ["JSON", "VARCHAR", "BIGINT"]
    ours = {
        "_dlt_load_id": "VARCHAR",
        "_deleted_at": "TIMESTAMP WITH TIME ZONE",
        "_missing_since": "TIMESTAMP WITH TIME ZONE",
    }
    assert {name: columns[name] for name in ours} == ours
    assert warehouse.query(f"SELECT brand_new, plan, seats FROM crm.{resource} WHERE id = 4711") == [
        ('[{"a":1}]', "pro", 5)
    ]


def test_a_second_run_adds_no_row_and_changes_none(materialize: Materialize, warehouse: Warehouse) -> None:
    assert materialize().success
    before = {resource: rows(warehouse, resource) for resource in MODELS}
    assert materialize().success
    after = {resource: rows(warehouse, resource) for resource in MODELS}
    for table in (*before.values(), *after.values()):
        for row in table.values():
            del row["_dlt_load_id"]
    assert after == before


def test_a_changed_record_is_changed_and_a_new_one_added(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    assert materialize(["deals"]).success
    first = next(iter(sandbox.crm.records("deals")))
    sandbox.crm.update("deals", first["id"], name="Renamed ☂")
    sandbox.crm.create("deals", {"id": "4712", "name": "New"})
    assert materialize(["deals"]).success
    assert warehouse.query(f"SELECT name FROM crm.deals WHERE id IN ({int(first['id'])}, 4712) ORDER BY id = 4712") == [
        ("Renamed ☂",),
        ("New",),
    ]
    assert warehouse.tables()["deals"] == SMALL["deals"] + 1


def test_one_asset_alone_loads_one_table_and_leaves_ten_alone(materialize: Materialize, warehouse: Warehouse) -> None:
    result = materialize(["deals"])
    assert materialized(result) == ["deals"]
    assert warehouse.tables() == {"deals": SMALL["deals"], "rejected_records": 0}


def test_a_resource_without_records_still_gets_its_table(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    for record in list(sandbox.crm.records("milestone")):
        sandbox.crm.delete("milestone", record["id"])
    assert materialize(["milestone"]).success
    assert warehouse.tables()["milestone"] == 0
    assert {column.name for column in columns_of(MODELS["milestone"])} <= warehouse.columns("milestone").keys()


def test_a_record_that_comes_on_two_pages_lands_once(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    first = next(iter(sandbox.crm.records("contacts")))
    sandbox.crm.replace("contacts", 249, first)
    assert materialize(["contacts"]).success
    assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM crm.contacts") == [(249, 249)]


def test_records_that_cannot_be_rows_are_kept_whole_and_the_rest_loads(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    bad = {"id": "five", "created_time": "soon", "more": {"ü": [1]}}
    sandbox.crm.replace("deals", 3, {"name": "nobody"})
    sandbox.crm.replace("deals", 110, bad)
    result = materialize(["deals", "notes"])
    assert result.success
    assert warehouse.tables()["deals"] == SMALL["deals"] - 2
    kept = warehouse.query(
        "SELECT resource, record_id, reason, record, _dlt_load_id FROM crm.rejected_records ORDER BY 2"
    )
    assert [row[:3] for row in kept] == [
        ("deals", "five", "id: 'five' is not a whole number"),
        ("deals", None, "id is missing"),
    ]
    assert json.loads(kept[0][3]) == bad
    assert {row[4] for row in kept} == {row[0] for row in warehouse.query("SELECT _dlt_load_id FROM crm.deals")}


def test_a_value_that_does_not_fit_costs_no_row_and_goes_to_a_variant_column(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    for place, record in enumerate(list(sandbox.crm.records("deals"))):
        sandbox.crm.update("deals", record["id"], probability=["high", {"low": 1}][place % 2], name={"a": 1})
    assert materialize(["deals"]).success
    assert warehouse.tables() == {"deals": SMALL["deals"], "rejected_records": 0}
    assert warehouse.query(
        "SELECT count(probability), count(*) FILTER (probability__v_text = 'high'),"
        " count(*) FILTER (probability__v_json = '{\"low\":1}'), count(*) FILTER (name = '{\"a\":1}') FROM crm.deals"
    ) == [(0, SMALL["deals"] / 2, SMALL["deals"] / 2, SMALL["deals"])]


def test_a_field_may_change_its_json_type_between_runs(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    for value, held in (
        (5, (5,)),
        ("five", (None, "five")),
        ({"five": 5}, (None, None, '{"five":5}')),
        ("6", (6, None, None)),
        (None, (None, None, None)),
    ):
        sandbox.crm.replace("milestone", 0, {"id": 1, "fresh": value})
        assert materialize(["milestone"]).success
        names = ("fresh", "fresh__v_text", "fresh__v_json")[: len(held)]
        assert warehouse.query(f"SELECT {', '.join(names)} FROM crm.milestone WHERE id = 1") == [held]


def test_a_column_that_an_earlier_version_made_as_json_stays_json_and_takes_everything(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__DEALS__HISTORY", "true")
    record_id = next(iter(sandbox.crm.records("deals")))["id"]
    sandbox.crm.update("deals", record_id, plan="pro")
    with monkeypatch.context() as earlier:
        earlier.setattr(Spooled, "typed", lambda listing, *_: listing)
        assert materialize(["deals"]).success
    where = f"FROM crm.deals WHERE id = {record_id}"
    assert warehouse.query(f"SELECT typeof(plan), plan {where}") == [("JSON", '"pro"')]
    result = materialize(["deals"])
    assert result.success
    assert "rows_changed" not in metadata_of(result)
    for value in (5, {"a": 1}, "basic"):
        sandbox.crm.update("deals", record_id, plan=value, seats=5)
        assert materialize(["deals"]).success
        held = json.dumps(value, separators=(",", ":"))
        assert warehouse.query(f"SELECT typeof(plan), plan, seats {where}") == [("JSON", held, 5)]
    assert warehouse.query(f"SELECT count(*) FROM crm.deals_history WHERE id = {record_id}") == [(4,)]
    assert not [name for name in warehouse.columns("deals") if "__v_" in name]


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return what the first materialization of a run says."""
    event = result.get_asset_materialization_events()[0]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_materialization_says_what_it_brought_and_what_it_cost(materialize: Materialize, sandbox: Sandbox) -> None:
    sandbox.fault("deals=503x1")
    sandbox.crm.replace("deals", 0, {"id": None})
    sandbox.crm.replace("deals", 1, {"id": 1, "probability": "high"})
    result = materialize(["deals"])
    values = metadata_of(result)
    assert values["dagster/row_count"] == values["rows_loaded"] == SMALL["deals"] - 1
    assert values["dagster/table_name"] == "warehouse.crm.deals"
    assert (values["rows_rejected"], values["pages"], values["requests"], values["retries"]) == (1, 2, 3, 1)
    assert values["bytes"] > 10_000
    assert values["fetch_seconds"] > 0
    assert values["load_seconds"] > 0
    assert values["load_id"]
    assert len(values["preview"].records) == 5
    schema = {column.name: column for column in values["dagster/column_schema"].columns}
    assert schema["close_date"].type == "timestamp"
    assert schema["close_date"].description == "Day on which the deal is expected to close; set by its owner."
    assert not schema["id"].constraints.nullable
    assert schema["forecast_category"].type == "text"
    assert schema["forecast_category"].description == "Not declared: of the type that its first values had."
    assert schema["probability__v_text"].description == (
        "Values of probability that do not fit its type; it is NULL where this is not."
    )


WRONG: dict[ApiName, dict[str, str]] = {
    "v1": {
        "contacts=repeat_cursor": "contacts: the request for the next page",
        "deals=error_envelope": "deals: HTTP 200 with no list under `data`",
        "notes=html": "notes: HTTP 200 with an HTML page",
        "tasks=half_json": "tasks: HTTP 200 with invalid or cut-off JSON",
        "events=extra_cursor": "events: the listing was cut",
        "tickets=404": "tickets: HTTP 404",
    },
    "agilecrm": {
        "companies=error_envelope": "companies: HTTP 200 with an object instead of a list",
        "notes=html": "notes: of contacts with id",
        "tasks=half_json": "tasks: HTTP 200 with invalid or cut-off JSON",
        "events=extra_cursor": "events: the listing was cut",
        "campaigns=repeat_cursor": "campaigns: the request for the next page",
        "tickets=404": "tickets: of ticket_filters with id",
    },
}
"""Faults, each with what a run says of it."""


@pytest.mark.parametrize("api", WRONG)
def test_one_resource_that_fails_stops_no_other_and_the_run_says_which_and_why(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, api: ApiName
) -> None:
    for fault in WRONG[api]:
        sandbox.fault(fault)
    account = account_of(api)
    result = materialize(account=account)
    failed = [fault.partition("=")[0] for fault in WRONG[api]]
    landed = {resource.name for resource in account.resources} - set(failed)
    assert not result.success
    assert set(materialized(result)) == landed
    assert warehouse.tables().keys() == {*landed, "rejected_records"}
    message = failure_of(result)
    assert message.startswith(f"{', '.join(failed)} did not load. The other {len(landed)} tables are loaded.")
    for line in WRONG[api].values():
        assert f"\n{line}" in message


def test_a_resource_that_fails_leaves_its_table_as_it_was(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    assert materialize(["contacts"]).success
    before = rows(warehouse, "contacts")
    first = next(iter(sandbox.crm.records("contacts")))
    sandbox.crm.update("contacts", first["id"], source="changed")
    sandbox.fault(Fault("contacts", "status", status=404, after=sandbox.requests["contacts"] - 1))
    assert not materialize(["contacts"]).success
    assert rows(warehouse, "contacts") == before


def test_503_for_ever_is_tried_once_more_by_the_step_for_that_resource_only(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    sandbox.fault("tickets=503")
    result = materialize(["tickets", "notes"])
    assert not result.success
    assert materialized(result) == ["notes"]
    assert "tickets: HTTP 503 from" in failure_of(result)
    assert "after 4 attempts" in failure_of(result)
    assert "tickets did not load. The table notes is loaded." in failure_of(result)
    assert (sandbox.requests["tickets"], sandbox.requests["notes"]) == (8, 1)
    assert warehouse.tables() == {"notes": SMALL["notes"], "rejected_records": 0}


def test_a_step_that_is_retried_loads_only_what_has_not_landed(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    sandbox.fault("tickets=503x4")
    result = materialize()
    assert result.success
    assert sorted(materialized(result)) == sorted(MODELS)
    assert sandbox.requests["tickets"] == 5
    assert sandbox.requests["notes"] == 1
    assert warehouse.tables()["tickets"] == SMALL["tickets"]


def test_a_refused_login_fails_at_once_names_the_settings_and_leaks_nothing(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCES__CRM__API_KEY", "wr0ng-key")
    result = materialize()
    assert not result.success
    message = failure_of(result)
    assert message.count("HTTP 401") == 1
    assert "sources.crm.api_key" in message
    assert ".dlt/secrets.toml" in message
    assert "SOURCES__CRM__API_KEY" in message
    assert sum(sandbox.requests.values()) <= len(MODELS)
    assert not warehouse.path.exists()
    said = "".join(dg.serialize_value(entry) for entry in instance.all_logs(result.run_id))
    assert "wr0ng-key" not in said
    assert EMAIL not in said
    assert API_KEY not in said


def test_a_login_that_may_not_see_one_resource_does_not_stop_the_others(
    materialize: Materialize, sandbox: Sandbox
) -> None:
    sandbox.fault("tickets=403")
    result = materialize()
    assert len(materialized(result)) == len(MODELS) - 1
    assert "tickets: HTTP 403" in failure_of(result)


def test_nothing_is_left_of_a_run_but_its_tables(materialize: Materialize, warehouse: Warehouse) -> None:
    materialize(["notes"])
    assert not list((warehouse.path.parent / "runs").iterdir())


def test_a_memory_limit_that_is_too_small_is_named(materialize: Materialize, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE__MEMORY_LIMIT", "1MB")
    result = materialize()
    assert "warehouse.memory_limit" in failure_of(result)
    assert "WAREHOUSE__MEMORY_LIMIT" in failure_of(result)


def test_a_missing_setting_fails_the_run_and_is_named(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES__CRM__API_KEY")
    message = failure_of(materialize(["deals"]))
    assert message == (
        "sources.crm.api_key is not set. Set `api_key` under [sources.crm] in .dlt/secrets.toml, "
        "or SOURCES__CRM__API_KEY in the environment."
    )


def test_the_assets_are_described_for_the_reader_of_the_ui() -> None:
    graph = defs.resolve_asset_graph()
    for resource in MODELS:
        node = graph.get(asset_key(an_account(), resource))
        assert node.group_name == "crm"
        assert node.description == MODELS[resource].__doc__
        assert node.kinds == {"dlt", "duckdb"}
        assert list(node.owners) == ["team:crm"]
        assert node.tags["source"] == "crm"
        assert node.parent_keys == {dg.AssetKey("crm_api")}
        assert len(node.metadata["dagster/column_schema"].columns) == len(columns_of(MODELS[resource])) + 3
        assert "endpoint" in node.metadata
    assert not graph.get(dg.AssetKey("crm_api")).is_materializable


def test_a_resource_without_a_model_loads_with_the_types_of_its_values(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__MILESTONE__HISTORY", "true")
    account = an_account()
    account = replace(account, resources=tuple(replace(one, model=None) for one in account.resources))
    for place in range(SMALL["milestone"]):
        record = {
            "id": place,
            "amount": 1.5 if place else 2,
            "open": True,
            "at": "2024-01-01T00:00:00Z",
            "tags": ["a"],
            "gone": None,
            "plan": "pro",
        }
        sandbox.crm.replace("milestone", place, record)
    first = run_assets(instance, ["milestone"], account=account)
    assert first.success
    assert {name: kind for name, kind in warehouse.columns("milestone").items() if not name.startswith("_")} == {
        "id": "BIGINT",
        "amount": "DOUBLE",
        "open": "BOOLEAN",
        "at": "TIMESTAMP WITH TIME ZONE",
        "tags": "JSON",
        "plan": "VARCHAR",
    }
    schema = {column.name: column.type for column in metadata_of(first)["dagster/column_schema"].columns}
    assert schema["amount"] == "double"
    assert not [one for one in first.get_asset_check_evaluations() if not one.passed]
    sandbox.crm.replace("milestone", 0, {"id": 0, "amount": "much", "open": True, "gone": 7, "plan": 5})
    sandbox.crm.replace("milestone", 1, {"plan": "nobody's"})
    sandbox.crm.replace("milestone", 2, ["no record"])
    second = run_assets(instance, ["milestone"], account=account)
    assert second.success
    assert warehouse.query("SELECT amount, amount__v_text, gone, plan FROM crm.milestone WHERE id = 0") == [
        (None, "much", 7, "5")
    ]
    assert warehouse.query("SELECT reason FROM crm.rejected_records ORDER BY 1") == [
        ("id is missing",),
        ("is not a JSON object",),
    ]
    assert warehouse.query("SELECT count(*) FROM crm.milestone_history WHERE id = 0") == [(2,)]
    failed = {one.check_name for one in second.get_asset_check_evaluations() if not one.passed}
    assert failed == {"types", "rejected", "drift"}


def test_a_key_that_its_column_does_not_hold_stops_the_table_of_a_resource_without_a_model(
    sandbox: Sandbox, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    account = an_account()
    account = replace(account, resources=tuple(replace(one, model=None) for one in account.resources))
    for place in range(SMALL["milestone"]):
        sandbox.crm.replace("milestone", place, {"id": place})
    assert run_assets(instance, ["milestone"], account=account).success
    sandbox.crm.replace("milestone", 0, {"id": "abc"})
    said = failure_of(run_assets(instance, ["milestone"], account=account))
    assert "milestone: milestone.id is BIGINT and must be VARCHAR. Its tables are untouched." in said
    assert warehouse.query("SELECT id FROM crm.milestone ORDER BY id") == [(0,), (1,), (2,)]


def with_tier(kind: Any) -> Account:
    """Return the account with a field of deals, `customTier`, declared."""
    return declaring(an_account(), "deals", customTier=(kind | None, Field(None, description="The tier.")))


@pytest.mark.parametrize(("kind", "before", "now"), some((Text, 5, "silver"), (BigInt, "gold", 6)))
def test_a_field_that_is_declared_later_stops_its_table_alone_and_the_message_makes_room(
    materialize: Materialize,
    sandbox: Sandbox,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    before: object,
    now: object,
) -> None:
    monkeypatch.setenv("SYNC__DEALS__HISTORY", "true")
    record_id = next(iter(sandbox.crm.records("deals")))["id"]
    sandbox.crm.update("deals", record_id, customTier=before)
    assert materialize(["deals", "notes"]).success
    account = with_tier(kind)
    sandbox.crm.update("deals", record_id, customTier=now)
    sandbox.crm.create("notes")
    failed = materialize(["deals", "notes"], account=account)
    assert warehouse.tables()["notes"] == SMALL["notes"] + 1
    said = failure_of(failed)
    found, wanted = ("BIGINT", "VARCHAR") if kind is Text else ("VARCHAR", "BIGINT")
    assert f"deals: deals.custom_tier is {found} and must be {wanted}" in said
    assert f"; deals_history.custom_tier is {found} and must be {wanted}" in said
    warehouse.query(said.partition("and the next run loads it: ")[2])
    assert materialize(["deals"], account=account).success
    for table in ("deals", "deals_history"):
        assert (now,) in warehouse.query(f"SELECT custom_tier FROM crm.{table} WHERE id = {record_id}")
    assert warehouse.query(f"SELECT count(custom_tier_before) FROM crm.deals_history WHERE id = {record_id}") == [(1,)]


def test_a_field_that_is_declared_later_with_the_type_that_it_has_loads_at_once(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    record_id = next(iter(sandbox.crm.records("deals")))["id"]
    sandbox.crm.update("deals", record_id, customTier="gold")
    assert materialize(["deals"]).success
    sandbox.crm.update("deals", record_id, customTier="silver")
    assert materialize(["deals"], account=with_tier(Text)).success
    assert warehouse.query(f"SELECT custom_tier FROM crm.deals WHERE id = {record_id}") == [("silver",)]


def test_a_field_that_is_declared_later_and_has_no_value_yet_gets_its_column_although_no_row_changed(
    materialize: Materialize, warehouse: Warehouse
) -> None:
    assert materialize(["deals"]).success
    assert materialize(["deals"], account=with_tier(Text)).success
    assert warehouse.columns("deals")["custom_tier"] == "VARCHAR"
