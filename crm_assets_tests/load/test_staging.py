"""dlt's staging dataset is there during a load, and not after it."""

import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Materialize, Warehouse

STAGING = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'crm_staging'"
SCHEMAS = "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal"


def test_after_a_load_nothing_of_it_is_in_the_staging_dataset(
    materialize: Materialize, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__DEALS__HISTORY", "true")
    for names in (["deals", "notes"], ["notes"], ["deals"]):
        assert materialize(names).success
        assert warehouse.query(SCHEMAS) == [("crm",)]


def test_what_somebody_else_keeps_in_the_staging_dataset_stays(materialize: Materialize, warehouse: Warehouse) -> None:
    assert materialize(["notes"]).success
    warehouse.query("CREATE SCHEMA crm_staging; CREATE TABLE crm_staging.mine AS SELECT 1 AS id")
    assert materialize(["notes"]).success
    assert warehouse.query(STAGING) == [("mine",)]


def test_a_staging_dataset_that_keeps_something_else_than_tables_stops_no_load(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    assert materialize(["notes"]).success
    warehouse.query("CREATE SCHEMA crm_staging; CREATE SEQUENCE crm_staging.mine")
    sandbox.crm.create("notes")
    assert materialize(["notes"]).success
    assert not warehouse.query(STAGING)
    assert warehouse.tables()["notes"] == SMALL["notes"] + 1
