"""Records as Arrow batches."""

from dataclasses import replace
from math import isfinite
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.extract.batches import Batcher
from crm_assets.extract.field_columns import FieldColumns
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


def test_an_undeclared_field_becomes_a_column_of_json_text_whatever_it_holds() -> None:
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
        ({"id": {"a": 1}, "close_date": "soon"}, '{"a":1}', "id: {'a': 1} is not a whole number"),
        (["not", "a", "record"], None, "is not a JSON object"),
        (None, None, "is not a JSON object"),
    ],
)
def test_a_record_that_cannot_be_a_row_is_kept_whole_with_the_reason_and_the_rest_passes(
    record: Any, record_id: str | None, reason: str
) -> None:
    batcher = Batcher("deals", RESOURCES["deals"].columns, key=("id",))
    batch, rejected = batcher.batch([{"id": 1}, record, {"id": "2"}])
    assert batch.column("id").to_pylist() == [1, 2]
    assert [(one.resource, one.record_id, one.reason) for one in rejected] == [("deals", record_id, reason)]
    assert orjson.loads(rejected[0].record) == record


@pytest.mark.parametrize(
    ("field", "value", "variant", "text"),
    [
        ("close_date", "soon", "close_date__v_text", '"soon"'),
        ("probability", "2024-01-01T00:00:00Z", "probability__v_text", '"2024-01-01T00:00:00Z"'),
        ("probability", 2**70, "probability__v_text", str(2**70)),
        ("probability", 1.5, "probability__v_double", "1.5"),
        ("apply_discount", 5, "apply_discount__v_bigint", "5"),
        ("expected_value", True, "expected_value__v_bool", "true"),
        ("expected_value", {"EUR": 5}, "expected_value__v_json", '{"EUR":5}'),
    ],
)
def test_a_value_that_a_declared_column_does_not_hold_goes_to_a_variant_column_and_costs_no_row(
    field: str, value: Any, variant: str, text: str
) -> None:
    batcher = Batcher("deals", RESOURCES["deals"].columns)
    batch, rejected = batcher.batch([{"id": 1, field: value, "name": "kept"}, {"id": 2, field: None}])
    assert not rejected
    first, second = batch.to_pylist()
    assert {name: held for name, held in first.items() if held is not None} == {"id": 1, "name": "kept", variant: text}
    assert second["id"] == 2
    assert batch.schema.names[-1] == variant


@pytest.mark.parametrize(
    ("record", "unreadable"),
    [
        ({"id": "7"}, 0),
        ({"ID": 7}, 0),
        ({"id": None}, 1),
        ({"name": "no id"}, 1),
        ({"id": "7x"}, 1),
        ({"id": [7]}, 1),
        ("no record", 1),
    ],
)
def test_it_counts_the_records_that_do_not_say_which_row_is_theirs(record: Any, unreadable: int) -> None:
    batcher = Batcher("deals", RESOURCES["deals"].columns, key=("id",))
    batcher.batch([record, {"id": 1}])
    batcher.batch([record])
    assert batcher.unreadable_rows == 2 * unreadable


def test_a_record_that_lacks_another_field_says_which_row_is_its() -> None:
    columns = [replace(one, nullable=one.name != "name") for one in RESOURCES["deals"].columns]
    batcher = Batcher("deals", columns, key=("id",))
    _, rejected = batcher.batch([{"id": 7}, {"ID": 8}])
    assert [(one.record_id, one.reason) for one in rejected] == [("7", "name is missing"), ("8", "name is missing")]
    assert batcher.unreadable_rows == 0


def test_a_declared_text_takes_a_nested_value_as_json() -> None:
    assert rows_of([{"id": 1, "rules": {"ü": [1, None]}}], "campaigns") == [{"id": 1, "rules": '{"ü":[1,null]}'}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"name": "nobody"}, "code is missing"),
        ({"code": None}, "code is missing"),
        ({"code": " "}, "code is missing"),
        ({"code": [1]}, "code: [1] is nested, and tells no record from another"),
    ],
)
def test_without_a_model_only_a_record_without_a_key_is_no_row(record: Any, reason: str) -> None:
    batch, rejected = Batcher("products", (), key=("code",)).batch([{"code": "a", "x": 1}, record, {"code": 0}])
    assert [one.reason for one in rejected] == [reason]
    assert [(row["code"], row["x"]) for row in batch.to_pylist()] == [('"a"', "1"), ("0", None)]


def test_a_rejected_record_says_nothing_about_the_kinds_of_values() -> None:
    batcher = Batcher("products", (), key=("id",))
    batcher.batch([{"id": None, "x": "text"}, {"id": 1, "x": 5}])
    assert batcher.undeclared == {"id": ["bigint"], "x": ["bigint"]}


KINDS: list[tuple[list[Any], list[str]]] = [
    ([1, None, -(2**63)], ["bigint"]),
    ([1, 2**63], ["bigint", "text"]),
    ([1.5, None], ["double"]),
    ([1, 1.5], ["bigint", "double"]),
    ([True, False], ["bool"]),
    (["a", "2024-01-01T00:00:00Z"], ["text"]),
    (["2024-01-01T00:00:00Z", "2024-01-01 10:00:00.5+02:00", "2024-01-01T10:00"], ["timestamp"]),
    (["2024-01-01T00:00:00Z", "2024-13-01T00:00:00Z"], ["text", "timestamp"]),
    (["2024-01-01T00:00:00Z", "0000-12-31T23:00:00-05:00"], ["text", "timestamp"]),
    (["2024-01-01", "20240101"], ["text"]),
    (["", "2024-01-01T00:00:00Z"], ["timestamp"]),
    (["", None], ["empty"]),
    ([{"a": 1}, [1]], ["json"]),
    ([None], []),
]


@pytest.mark.parametrize(("values", "kinds"), KINDS, ids=str)
def test_it_remembers_of_which_kinds_the_values_of_an_undeclared_field_were(
    values: list[Any], kinds: list[str]
) -> None:
    batcher = Batcher("deals", RESOURCES["deals"].columns)
    batcher.batch([{"id": index, "x": value} for index, value in enumerate(values)])
    assert batcher.undeclared == {"x": kinds}


@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
        max_size=5,
    )
)
def test_the_text_of_a_whole_batch_is_that_of_its_values_one_by_one(values: list[Any]) -> None:
    records = [{"id": index, "x": value} for index, value in enumerate(values)]
    whole = rows_of(records)
    assert whole == [row for record in records for row in rows_of([record])]
    assert [row.get("x") and orjson.loads(row["x"]) for row in whole if not has_big_number(row)] == [
        value for value, row in zip(values, whole, strict=True) if not has_big_number(row)
    ]


def has_big_number(row: dict[str, Any]) -> bool:
    """Return whether orjson would make a double of the number."""
    return "x" in row and len(row["x"]) > 18


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
    assert not rejected
    for value, row in zip(values, batch.to_pylist(), strict=True):
        others = {name for name in row if name.startswith(f"{column.name}__v_") and row[name] is not None}
        try:
            held = None if value is None else column.data_type.convert(value)
        except ValueError:
            assert row[column.name] is None
            assert len(others) == (isinstance(value, str) or isfinite(value))  # JSON knows neither NaN nor Infinity
        else:
            assert row[column.name] == held
            assert not others


def test_columns_for_fields_of_one_name_count_too() -> None:
    batcher = Batcher(
        "milestone",
        RESOURCES["milestone"].columns,
        FieldColumns([column.name for column in RESOURCES["milestone"].columns], room=2),
    )
    batch, _ = batcher.batch([{"id": 1, "a!b": 1, "a#b": 2, "a%b": 3, "a&b": 4}])
    row = batch.to_pylist()[0]
    assert len(batcher.undeclared) == 3  # the third is other_fields
    assert sorted(orjson.loads(row["other_fields"]).values()) == [3, 4]
