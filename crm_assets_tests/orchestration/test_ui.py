"""What a person reads in Dagster's UI about an account: descriptions, previews, by-products, the CRM itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from crm_assets.errors import CrmUnavailable, SettingError
from crm_assets.extract.observations import Observation
from crm_assets.extract.probe import Probe
from crm_assets.models.columns import columns_of
from crm_assets.orchestration import build_defs, last_ping
from crm_assets.orchestration.keys import api_asset_key, asset_key
from crm_assets.orchestration.last_ping import record_ping
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import EMAIL, Materialize, Warehouse, an_account, run_assets

REJECTED = dg.AssetKey(["crm", "rejected_records"])
HISTORY = dg.AssetKey(["crm", "deals_history"])


def metadata_of(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    [found] = [
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == key
    ]
    return {name: value.value for name, value in found.metadata.items()}


def records(table: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in table.records]


def test_every_job_schedule_and_sensor_has_a_description() -> None:
    repository = build_defs(an_account()).get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    named: list[Any] = [*jobs, *repository.schedule_defs, *repository.sensor_defs]
    assert len(named) == 4 + 2 + 4
    assert not [one.name for one in named if not one.description]


@pytest.mark.parametrize("resource", MODELS)
def test_a_preview_chooses_fields_that_the_model_declares(resource: str) -> None:
    declared = {column.field for column in columns_of(MODELS[resource])}
    chosen = [name.partition(".")[0] for name in MODELS[resource].preview]
    assert chosen
    assert set(chosen) <= declared


def test_the_preview_shows_what_a_person_would_look_for(materialize: Materialize, sandbox: Sandbox) -> None:
    result = materialize(["contacts", "deals"])
    contacts = metadata_of(result, dg.AssetKey(["crm", "contacts"]))
    first = records(contacts["preview"])[0]
    assert list(first)[:4] == ["id", "first_name", "last_name", "email"]
    record = next(one for one in sandbox.crm.records("contacts") if int(one["id"]) == first["id"])
    assert first["email"] == next(one["value"] for one in record["properties"] if one["name"] == "email")
    deals = records(metadata_of(result, dg.AssetKey(["crm", "deals"]))["preview"])
    assert list(deals[0])[:4] == ["id", "name", "milestone", "expected_value"]


def test_a_model_that_chooses_nothing_is_previewed_by_what_is_in_its_columns(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS["milestone"], "preview", ())
    [first, *_] = records(metadata_of(materialize(["milestone"]), dg.AssetKey(["crm", "milestone"]))["preview"])
    assert "name" in first
    assert len(first) > 3


def test_metadata_says_first_what_came_and_last_what_it_cost(materialize: Materialize, warehouse: Warehouse) -> None:
    said = metadata_of(materialize(["notes"]), dg.AssetKey(["crm", "notes"]))
    names = list(said)
    wanted = ["dagster/row_count", "rows_loaded", "rows_new", "preview", "dagster/table_name", "dagster/uri", "records"]
    assert names[: len(wanted)] == wanted
    assert 0 not in said.values()
    assert said["dagster/uri"] == f"duckdb:///{warehouse.path}"


def test_rejected_records_are_an_asset_that_depends_on_all_tables() -> None:
    node = build_defs(an_account()).resolve_asset_graph().get(REJECTED)
    assert node.parent_keys == {asset_key(an_account(), name) for name in MODELS}
    assert not node.is_materializable
    assert node.group_name == "crm"


def test_rejected_records_are_materialized_when_there_are_some_and_only_then(
    materialize: Materialize, sandbox: Sandbox
) -> None:
    assert not [one for one in materialize(["deals"]).get_asset_materialization_events() if one.asset_key == REJECTED]
    sandbox.crm.replace("deals", 3, {"id": "seven"})
    result = materialize(["deals"])
    said = metadata_of(result, REJECTED)
    assert (said["dagster/row_count"], said["rows_new"]) == (1, 1)
    [kept] = records(said["preview"])
    assert kept == {"resource": "deals", "record_id": "seven", "reason": "id: 'seven' is not a whole number"}


def test_a_failing_check_shows_the_rows_as_a_table_and_leads_to_the_rejected_records(
    materialize: Materialize, sandbox: Sandbox
) -> None:
    sandbox.crm.replace("deals", 3, {"id": "seven"})
    checks = {one.check_name: one for one in materialize(["deals"]).get_asset_check_evaluations()}
    said = checks["rejected"].metadata
    assert records(said["failed_rows"].value) == [{"id": "seven", "reason": "id: 'seven' is not a whole number"}]
    assert said["rejected_records"].value == REJECTED
    assert "sql" in said
    assert "sql" not in checks["schema"].metadata


def test_a_history_is_an_asset_where_it_is_kept_and_nowhere_else(
    warehouse: Warehouse, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    account = an_account(sync={"deals": {"history": True}})
    graph = build_defs(account).resolve_asset_graph()
    assert graph.get(HISTORY).parent_keys == {dg.AssetKey(["crm", "deals"])}
    assert dg.AssetKey(["crm", "notes_history"]) not in graph.get_all_asset_keys()
    result = run_assets(instance, ["deals", "notes"], account=account)
    first = metadata_of(result, HISTORY)
    assert first["dagster/row_count"] == first["rows_new"] == 120
    sandbox.crm.update("deals", next(iter(sandbox.crm.records("deals")))["id"], name="Renamed")
    second = metadata_of(run_assets(instance, ["deals"], account=account), HISTORY)
    assert (second["dagster/row_count"], second["rows_new"]) == (121, 1)


def test_the_crm_says_its_address_and_no_login() -> None:
    account = an_account(base_url="https://api.example.com")
    node = build_defs(account).resolve_asset_graph().get(api_asset_key(account))
    assert node.metadata["address"].value == "https://api.example.com"
    assert EMAIL not in str(node.metadata)


def pings(instance: dg.DagsterInstance) -> list[str]:
    found = instance.fetch_observations(api_asset_key(an_account()), limit=10).records
    observed = [record.asset_observation for record in found]
    return [str(one.metadata["outcome"].value) for one in reversed(observed) if one]


def test_a_ping_is_recorded_when_the_outcome_changes(instance: dg.DagsterInstance) -> None:
    well = [Probe("deals", 0.02, page=[{}])]
    down = [Probe("deals", 0.02, error=CrmUnavailable("deals", "HTTP 503", "Wait", status=503))]
    for probes in (well, well, down, down, well, []):
        record_ping(instance, an_account(), probes)
    assert pings(instance) == ["the CRM answers", "the CRM does not answer as it should", "the CRM answers"]


def test_a_ping_with_the_same_outcome_is_recorded_again_after_an_hour(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = [Probe("deals", 0.02, page=[{}])]
    record_ping(instance, an_account(), well)
    monkeypatch.setattr(last_ping, "AT_LEAST", timedelta())
    record_ping(instance, an_account(), well)
    assert len(pings(instance)) == 2


def test_what_a_ping_observed_is_recorded_once_where_only_its_outcome_was(instance: dg.DagsterInstance) -> None:
    watched = [Probe("deals", 0.02, page=[{}])]
    asked = [Probe("deals", 0.02, page=[{}], observations=(Observation("", ("1 record", "no cursor")),))]
    for probes in (watched, asked, asked, watched):
        record_ping(instance, an_account(), probes)
    last, first = instance.fetch_observations(api_asset_key(an_account()), limit=10).records
    assert last.asset_observation
    assert last.asset_observation.metadata["observed"].value == {"deals": ["1 record, no cursor"]}
    assert first.asset_observation
    assert "observed" not in first.asset_observation.metadata


def test_an_asset_links_to_its_model_and_to_its_row_of_the_api() -> None:
    graph = build_defs(an_account(api="v1")).resolve_asset_graph()
    for name in MODELS:
        references = graph.get(asset_key(an_account(), name)).metadata["dagster/code_references"].code_references
        model, row = references
        assert f"class {MODELS[name].__name__}(" in Path(model.file_path).read_text()
        assert f'"name": "{name}"' in Path(row.file_path).read_text().splitlines()[row.line_number - 1]


def test_owners_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__OWNERS", "team:sales, ana@example.com")
    graph = build_defs(an_account()).resolve_asset_graph()
    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {("team:sales", "ana@example.com")}


@pytest.mark.parametrize("wrong", ["sales", "team:", "ana@example", "@example.com"])
def test_an_owner_that_dagster_would_refuse_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("SOURCES__CRM__OWNERS", f"team:crm, {wrong}")
    with pytest.raises(SettingError, match=r"sources\.crm\.owners cannot be used: .*" + wrong):
        an_account()


def test_no_tag_of_a_run_clutters_the_list(materialize: Materialize, instance: dg.DagsterInstance) -> None:
    run = instance.get_run_by_id(materialize(["milestone"]).run_id)
    assert run
    assert not [name for name in run.tags if not name.startswith((".dagster/", "dagster/"))]
