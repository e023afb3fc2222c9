"""Records as Arrow batches."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.extract.batches import Batcher
from crm_assets.models.values import CONVERT
from crm_assets_tests.conftest import RESOURCES

DEAL_TYPES = {column.name: column for column in RESOURCES["deals"].columns}


def rows_of(records: list[Any], resource: str = "deals") -> list[dict[str, Any]]:
    batch, _ = Batcher(resource, RESOURCES[resource].columns).batch(records)
    return [{name: value for name, value in row.items() if value is not None} for row in batch.to_pylist()]


def test_a_batch_has_the_declared_columns_in_their_order_even_without_records() -> None:
    batch, rejected = Batcher("deals", RESOURCES["deals"].columns).batch([])
    assert batch.schema.names == list(DEAL_TYPES)
    assert batch.num_rows == 0
    assert not rejected


def test_an_undeclared_field_becomes_a_json_column_whatever_it_holds() -> None:
    assert rows_of([{"id": 1, "x": 5}, {"id": 2, "x": "5"}, {"id": 3, "x": {"a": None}}, {"id": 4, "x": None}]) == [
        {"id": 1, "x": "5"},
        {"id": 2, "x": '"5"'},
        {"id": 3, "x": '{"a":null}'},
        {"id": 4},
    ]


def test_undeclared_columns_stay_in_later_batches() -> None:
    batcher = Batcher("deals", RESOURCES["deals"].columns)
    first, _ = batcher.batch([{"id": 1, "x": 1}])
    second, _ = batcher.batch([{"id": 2, "y": 1}])
    assert first.schema.names == [*DEAL_TYPES, "x"]
    assert second.schema.names == [*DEAL_TYPES, "x", "y"]
    assert second.to_pylist()[0]["x"] is None


def test_a_declared_field_is_found_by_its_name_in_snake_case() -> None:
    assert rows_of([{"id": 1, "is_default": True}, {"id": 2, "isDefault": False}], "milestone") == [
        {"id": 1, "is_default": True},
        {"id": 2, "is_default": False},
    ]


def test_two_fields_of_one_record_with_one_name_in_snake_case_both_keep_their_value() -> None:
    rows = rows_of([{"id": 1, "is_default": "yes", "isDefault": True}], "milestone")
    suffixed = next(name for name in rows[0] if name.startswith("is_default_"))
    assert rows == [{"id": 1, "is_default": True, suffixed: '"yes"'}]


def test_keys_that_differ_only_in_case_both_keep_their_value_in_any_order() -> None:
    one = rows_of([{"id": 1, "Foo": 1, "foo": 2}])
    assert one == rows_of([{"id": 1, "foo": 2, "Foo": 1}])
    assert sorted(value for name, value in one[0].items() if name != "id") == ["1", "2"]
    assert one[0]["foo"] == "2"


def test_a_field_named_like_one_of_dlts_own_columns_gets_another_name() -> None:
    assert rows_of([{"id": 1, "_dlt_load_id": "mine", "_dlt_id": 5}]) == [
        {"id": 1, "crm_dlt_load_id": '"mine"', "crm_dlt_id": "5"}
    ]


@pytest.mark.parametrize(
    ("record", "record_id", "reason"),
    [
        ({"name": "no id"}, None, "id is missing"),
        ({"id": None}, None, "id is missing"),
        ({"id": ""}, "", "id is missing"),
        ({"id": "abc"}, "abc", "id: 'abc' is not a whole number"),
        ({"id": 7, "close_date": "soon", "x": [1]}, "7", "close_date: 'soon' is not a time"),
        ({"id": 7, "name": {"a": 1}}, "7", "name: {'a': 1} is nested, not text"),
        (["not", "a", "record"], None, "is not a JSON object"),
        (None, None, "is not a JSON object"),
    ],
)
def test_a_record_that_cannot_be_a_row_is_kept_whole_with_the_reason_and_the_rest_passes(
    record: Any, record_id: str | None, reason: str
) -> None:
    batch, rejected = Batcher("deals", RESOURCES["deals"].columns).batch([{"id": 1}, record, {"id": "2"}])
    assert batch.column("id").to_pylist() == [1, 2]
    assert [(one.resource, one.record_id, one.reason) for one in rejected] == [("deals", record_id, reason)]
    assert orjson.loads(rejected[0].record) == record


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**64), 2**64),
            st.integers(-(10**12), 10**12),
            st.floats(),
            st.sampled_from(["", "0", "1700000000", "2024-01-01T00:00:00Z", "true", "1.5", "x"]),
        ),
        max_size=6,
    ),
    st.sampled_from(
        [column for column in RESOURCES["deals"].columns if column.name != "id" and column.data_type.name != "json"]
    ),
)
def test_a_whole_batch_is_converted_exactly_as_its_values_one_by_one(values: list[Any], column: Any) -> None:
    records = [{"id": index, column.field: value} for index, value in enumerate(values)]
    batch, rejected = Batcher("deals", RESOURCES["deals"].columns).batch(records)
    held, refused = {}, set()
    for index, value in enumerate(values):
        try:
            held[index] = None if value is None else CONVERT[column.data_type.name](value)
        except ValueError:
            refused.add(str(index))
    assert {one.record_id for one in rejected} == refused
    assert dict(zip(batch.column("id").to_pylist(), batch.column(column.name).to_pylist(), strict=True)) == held


def test_columns_for_fields_of_one_name_count_too() -> None:
    batcher = Batcher("milestone", RESOURCES["milestone"].columns, new_columns=2)
    batch, _ = batcher.batch([{"id": 1, "a!b": 1, "a#b": 2, "a%b": 3, "a&b": 4}])
    row = batch.to_pylist()[0]
    assert len(batcher.undeclared) == 3  # the third is other_fields
    assert sorted(orjson.loads(row["other_fields"]).values()) == [3, 4]
