"""The models, against the facts of the CRM's API."""

import json
from pathlib import Path
from typing import Any

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.extract.arrow_fields import arrow_field
from crm_assets.models.columns import column_hints, column_name, columns_of, dlt_columns
from crm_assets.sandbox.listings import MODELS
from crm_assets_tests.conftest import V1

FIELDS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "fields.json").read_text())


def test_every_resource_of_the_table_has_a_model() -> None:
    assert {row["name"] for row in V1["resources"]} == MODELS.keys() >= FIELDS.keys()


@pytest.mark.parametrize("resource", FIELDS)
def test_a_model_declares_exactly_the_fields_of_the_api_with_type_unit_and_nullability(resource: str) -> None:
    declared = {
        column.field: (column.data_type.name, column.data_type.unit, column.nullable)
        for column in columns_of(MODELS[resource])
    }
    assert declared == {
        name: (facts["type"], facts.get("unit"), facts["nullable"]) for name, facts in FIELDS[resource].items()
    }


@pytest.mark.parametrize("resource", FIELDS)
def test_every_column_says_what_it_means_and_no_two_share_a_name(resource: str) -> None:
    columns = columns_of(MODELS[resource])
    assert all(len(column.description) > 10 for column in columns)
    assert len({column.name for column in columns}) == len(columns)


@pytest.mark.parametrize("resource", FIELDS)
def test_dlt_and_arrow_are_told_the_same_columns(resource: str) -> None:
    hints = dlt_columns(columns_of(MODELS[resource]))
    assert list(hints) == [arrow_field(column).name for column in columns_of(MODELS[resource])]
    assert not hints["id"]["nullable"]


def test_dlt_is_told_of_each_column_whether_it_is_of_the_key() -> None:
    hints = column_hints(columns_of(MODELS["deals"]), {"sku": "text"}, ["name", "sku"])
    assert [name for name, hint in hints.items() if hint["primary_key"]] == ["name", "sku"]
    assert [name for name, hint in hints.items() if not hint["nullable"]] == ["id", "name", "sku"]


def test_a_model_validates_a_record_with_the_habits_of_the_crm() -> None:
    deal: Any = MODELS["deals"].model_validate(
        {"id": "5629585249009664", "close_date": "1700000000000", "won_date": 0, "expected_value": "12.5", "new": [1]}
    )
    assert deal.model_dump(exclude_none=True, mode="json") == {
        "id": 5629585249009664,
        "close_date": "2023-11-14T22:13:20Z",
        "expected_value": 12.5,
        "new": [1],
    }


@given(st.text())
def test_a_column_name_is_one_that_dlt_leaves_as_it_is_and_never_one_of_dlts_own(field: str) -> None:
    name = column_name(field)
    assert NamingConvention().normalize_path(name) == name
    assert not name.startswith("_dlt")
