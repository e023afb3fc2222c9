"""The key of a row as one value."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.extract.keys import all_keys, key_text, key_values, keys_of_texts

TRICKY = st.text(st.sampled_from("ab=, \\"), max_size=6)
PAIRS = st.lists(st.tuples(TRICKY, TRICKY), max_size=30)


def batch_of(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


@given(PAIRS)
def test_keys_of_several_texts_are_the_same_only_where_each_text_is(pairs: list[tuple[str, str]]) -> None:
    batch = batch_of(a=pa.array([a for a, _ in pairs], pa.string()), b=pa.array([b for _, b in pairs], pa.string()))
    keys = key_values(batch, ["a", "b"]).to_pylist()
    assert len(set(keys)) == len(set(pairs))
    assert keys == [key_text({"a": a, "b": b}) for a, b in pairs]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([5, None, -5]), [5, None, -5]),
        (pa.array(["a, b", None, ""]), ["a, b", None, ""]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array([0.0, -0.0, 1.5]), ["0", "0", "1.5"]),
        (pa.array([datetime(2026, 1, 2, tzinfo=UTC)], pa.timestamp("us", "UTC")), ["2026-01-02 00:00:00.000000Z"]),
    ],
)
def test_a_key_of_one_column_is_its_value(values: pa.Array, texts: list[Any]) -> None:
    assert key_values(batch_of(a=values), ["a"]).to_pylist() == texts


def test_the_keys_of_one_bigint_column_take_eight_bytes_each() -> None:
    batches = [batch_of(id=pa.array(range(start, start + 1000), pa.int64())) for start in range(0, 100_000, 1000)]
    assert all_keys(batches, batches[0].schema, ["id"]).get_total_buffer_size() == 800_000


def test_a_key_of_which_a_part_is_missing_is_none_and_its_text_has_the_rest() -> None:
    batch = batch_of(a=pa.array([1, None]), b=pa.array([None, "x"]))
    assert key_values(batch, ["a", "b"]).to_pylist() == [None, None]
    assert key_text({"a": None, "b": "x"}) == "b=x"
    assert key_text({"a": None, "b": None}) is None


def test_of_texts_only_those_that_can_be_a_number_are_keys_of_a_bigint() -> None:
    schema = pa.schema([("id", pa.int64()), ("sku", pa.string())])
    texts = ["7", None, "x", "9223372036854775808", "-3", ""]
    assert keys_of_texts(texts, schema, ["id"]).to_pylist() == [7, -3]
    assert keys_of_texts(texts, schema, ["sku"]).to_pylist() == [text for text in texts if text is not None]
