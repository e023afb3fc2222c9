"""`crm_source()` is an ordinary dlt source."""

from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from crm_assets.errors import ApiConfigError, SettingError
from crm_assets.extract.source import crm_source
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, Warehouse


def test_it_runs_in_a_pipeline_of_its_own_with_the_types_of_the_models(
    sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.path.parent.mkdir()
    sandbox.crm.replace("deals", 0, {"id": "77", "close_date": "1700000000000", "won_date": 0, "expected_value": "5"})
    pipeline = dlt.pipeline(
        "my_own", destination="duckdb", dataset_name="mine", pipelines_dir=str(tmp_path / "pipelines")
    )
    pipeline.run(crm_source(resources=["deals", "contacts"]))
    assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM mine.contacts") == [(250, 250)]
    assert warehouse.query(
        "SELECT epoch(close_date), won_date, expected_value FROM mine.deals WHERE id = 77 AND contacts IS NULL"
    ) == [(1700000000.0, None, 5.0)]
    columns = warehouse.columns("contacts", "mine")
    assert columns["id"] == "BIGINT"
    assert columns["created_time"] == "TIMESTAMP WITH TIME ZONE"
    assert columns["properties"] == "JSON"


def test_what_no_model_declares_has_the_type_of_its_values_and_keeps_it(
    sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.path.parent.mkdir()
    values: list[Any] = [{"n": 1, "plan": "pro", "more": {"a": 1}}, {"n": 2.5, "plan": 5, "probability": "high"}]
    for place, fields in enumerate(values):
        sandbox.crm.replace("deals", place, {"id": place, **fields})
    for _ in range(2):
        directory = str(tmp_path / "pipelines")
        pipeline = dlt.pipeline("own", destination="duckdb", dataset_name="mine", pipelines_dir=directory)
        pipeline.run(crm_source(resources=["deals"], page_size=1)).raise_on_failed_jobs()
        assert warehouse.query(
            "SELECT n, n__v_double, plan, more, probability, probability__v_text FROM mine.deals"
            " WHERE id IN (0, 1) ORDER BY id"
        ) == [(1, None, "pro", '{"a":1}', None, None), (None, 2.5, "5", None, None, "high")]
        sandbox.crm.replace("deals", 0, {"id": 1, **values[1]})  # what came second comes first
        sandbox.crm.replace("deals", 1, {"id": 0, **values[0]})
    columns = warehouse.columns("deals", "mine")
    assert (columns["n"], columns["plan"], columns["more"]) == ("BIGINT", "VARCHAR", "JSON")


def test_it_takes_address_and_login_as_arguments_too(sandbox: Sandbox) -> None:
    source = crm_source(base_url=sandbox.base_url, email=EMAIL, api_key=API_KEY, page_size=10, resources=["contacts"])
    assert sum(batch.num_rows for batch in source) == 250
    assert sandbox.requests["contacts"] == 25


def test_a_resource_that_fails_says_why_through_dlt(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("deals=404")
    pipeline = dlt.pipeline("broken", destination="duckdb", pipelines_dir=str(tmp_path))
    with pytest.raises(PipelineStepFailed, match="deals: HTTP 404 from"):
        pipeline.extract(crm_source(base_url=sandbox.base_url, email=EMAIL, api_key=API_KEY, resources=["deals"]))


def test_an_unknown_api_or_resource_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ApiConfigError, match=r"There is no API called 'v9'\. Name one"):
        crm_source(base_url=sandbox.base_url, api="v9")
    with pytest.raises(ApiConfigError, match="Unknown resource: leads"):
        crm_source(base_url=sandbox.base_url, resources=["leads"])


@pytest.mark.parametrize("base_url", ["http://crm.example.com", "https://me:pass@crm.example.com"])
def test_it_takes_no_address_that_the_settings_refuse(base_url: str) -> None:
    with pytest.raises(SettingError, match=r"^sources\.crm\.base_url cannot be used"):
        crm_source(base_url=base_url)


def test_records_that_cannot_be_rows_are_kept_beside_them(
    sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.path.parent.mkdir()
    sandbox.crm.replace("milestone", 0, {"id": "x"})
    pipeline = dlt.pipeline("own", destination="duckdb", dataset_name="mine", pipelines_dir=str(tmp_path / "pipelines"))
    pipeline.run(crm_source(resources=["milestone"]))
    assert warehouse.query("SELECT resource, record_id FROM mine.rejected_records") == [("milestone", "x")]
    assert warehouse.query("SELECT count(*) FROM mine.milestone") == [(2,)]
