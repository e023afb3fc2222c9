"""The models, against records in every shape that Agile CRM's public documentation shows.

The records, and what they cover, are in `data/agilecrm_shapes.json`. None may be rejected, and none of their values may
miss its column.
"""

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crm_assets.apis.api import load_api
from crm_assets.extract.arrow_fields import arrow_field
from crm_assets.extract.batches import Batcher
from crm_assets.models.columns import Column, columns_of, variant_of
from crm_assets.models.values import CONVERT, DataTypeName

MODELS = {resource.name: resource.model for resource in load_api("agilecrm", Path()).resources if resource.model}
SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "agilecrm_shapes.json").read_text())
RECORDS: dict[str, list[dict[str, Any]]] = {
    name: [*records, *([SHAPES["_bare"][name]] if name in SHAPES["_bare"] else [])]
    for name, records in SHAPES.items()
    if not name.startswith("_")
}
HELD: dict[DataTypeName, type] = {
    "bigint": int,
    "text": str,
    "bool": bool,
    "double": float,
    "timestamp": datetime,
    "json": str,
}
"""The Python type of each column's values, json travelling as text."""


def batch_of(resource: str, records: list[dict[str, Any]]) -> tuple[pa.RecordBatch, Batcher]:
    """Return `records` as one batch, and who made it; fail if one is rejected."""
    batcher = Batcher(resource, columns_of(MODELS[resource]), key=["id"])
    batch, rejected = batcher.batch(records)
    assert not rejected
    return batch, batcher


def says_nothing(column: Column, value: Any) -> bool:
    """Return whether `value` stands for "no value" in `column`."""
    no_values: dict[DataTypeName, tuple[Any, ...]] = {
        "text": (None,),
        "json": (None,),
        "timestamp": (None, "", 0, "0"),
    }
    return any(value is one or value == one for one in no_values.get(column.data_type.name, (None, "")))


def test_there_are_shapes_of_every_resource_and_of_each_of_its_fields() -> None:
    assert RECORDS.keys() == MODELS.keys()
    for resource, records in RECORDS.items():
        said = {
            column.field
            for column in columns_of(MODELS[resource])
            for record in records
            if not says_nothing(column, record.get(column.field))
        }
        assert said == {column.field for column in columns_of(MODELS[resource])}


@pytest.mark.parametrize("resource", RECORDS)
def test_every_documented_shape_lands_in_the_declared_columns_and_no_value_beside_them(resource: str) -> None:
    batch, batcher = batch_of(resource, RECORDS[resource])
    assert [name for name in batcher.undeclared if variant_of(name)] == []
    for column in columns_of(MODELS[resource]):
        assert batch.schema.field(column.name).type == arrow_field(column).type
        for record, landed in zip(RECORDS[resource], batch.column(column.name).to_pylist(), strict=True):
            sent = record.get(column.field)
            assert (landed is None) == says_nothing(column, sent), (column.field, sent)
            assert landed is None or type(landed) is HELD[column.data_type.name], (column.field, sent)


@pytest.mark.parametrize("resource", RECORDS)
def test_a_record_lands_the_same_alone_and_among_records_of_other_shapes(resource: str) -> None:
    together, _ = batch_of(resource, RECORDS[resource])
    names = [column.name for column in columns_of(MODELS[resource])]
    alone = [batch_of(resource, [record])[0].select(names).to_pylist()[0] for record in RECORDS[resource]]
    assert alone == together.select(names).to_pylist()


@pytest.mark.parametrize("resource", RECORDS)
def test_the_model_reads_every_documented_shape_and_holds_what_the_table_holds(resource: str) -> None:
    batch, _ = batch_of(resource, RECORDS[resource])
    for record, row in zip(RECORDS[resource], batch.to_pylist(), strict=True):
        held: Any = MODELS[resource].model_validate(record)
        for column in columns_of(MODELS[resource]):
            value = getattr(held, column.field)
            assert row[column.name] == (CONVERT["json"](value) if column.data_type.name == "json" else value)


@pytest.mark.parametrize("resource", RECORDS)
def test_one_record_in_different_spellings_lands_as_the_same_values(resource: str) -> None:
    batch, _ = batch_of(resource, RECORDS[resource])
    spellings: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for record, row in zip(RECORDS[resource], batch.to_pylist(), strict=True):
        spellings[row["id"]].append((record, row))
    assert any(len(found) > 1 for found in spellings.values())
    for column in columns_of(MODELS[resource]):
        if column.data_type.name == "json" or column.field == "count":  # nested as sent; a number of the page's
            continue
        for found in spellings.values():
            assert len({row[column.name] for record, row in found if column.field in record}) <= 1, column.field
