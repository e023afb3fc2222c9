"""Listings on disk."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crm_assets.extract.spool import ListingSpool, Spooled
from crm_assets.models.values import DataTypeName
from crm_assets_tests.conftest import RESOURCES


def test_rows_written_before_a_column_appeared_are_read_with_it(tmp_path: Path) -> None:
    spool = ListingSpool(tmp_path, "milestone", RESOURCES["milestone"].columns)
    spool.add([{"id": 1}])
    spool.add([{"id": 2, "x": 1}])
    spool.add([{"id": 3}])
    listing = spool.complete()
    table = pa.concat_tables(listing.tables())
    assert table.column("id").to_pylist() == [1, 2, 3]
    assert table.column("x").to_pylist() == [None, "1", None]
    assert len(listing.parts) == 2


def test_a_listing_without_records_is_one_empty_table(tmp_path: Path) -> None:
    listing = ListingSpool(tmp_path, "milestone", RESOURCES["milestone"].columns).complete()
    assert [table.num_rows for table in listing.tables()] == [0]
    assert listing.rows == listing.rejected_rows == 0


def test_rejected_records_wait_beside_the_rows(tmp_path: Path) -> None:
    spool = ListingSpool(tmp_path, "milestone", RESOURCES["milestone"].columns)
    spool.add([{"id": 1}, {"id": "x"}, 5])
    listing = spool.complete()
    assert (listing.rows, listing.rejected_rows) == (1, 2)
    assert pa.concat_tables(listing.rejected_tables()).column("record").to_pylist() == ["5", '{"id":"x"}']


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
Rows = list[dict[str, Any]]


def listing_of(path: Path, batches: list[list[Any]], key: tuple[str, ...] = ("id",)) -> Spooled:
    """Return a listing of the `batches` of a resource without a model."""
    spool = ListingSpool(path, "products", (), key=key)
    for batch in batches:
        spool.add(batch)
    return spool.complete()


def rows_of(listing: Spooled) -> Rows:
    rows: Rows = pa.concat_tables(listing.tables()).to_pylist()
    return rows


def values_of(path: Path, values: list[Any], known: dict[str, DataTypeName] | None = None) -> tuple[str, list[Any]]:
    """Return type and values of the column of a field that had `values`, one batch each, and then all of them."""
    path.mkdir(exist_ok=True)
    each = [[{"id": index, "x": value}] for index, value in enumerate(values)]
    listing = listing_of(path, [*each, [one for batch in each for one in batch]]).typed(known or {})
    rows = rows_of(listing)
    assert rows[: len(values)] == rows[len(values) :]
    return str(listing.types.get("x")), [row.get("x") for row in rows[: len(values)]]


INFERRED: list[tuple[list[Any], str, list[Any]]] = [
    ([1, None, 2**63 - 1], "bigint", [1, None, 2**63 - 1]),
    ([1, 2.5], "double", [1.0, 2.5]),
    ([True, None], "bool", [True, None]),
    (["a", 'say "ü"\n', ""], "text", ["a", 'say "ü"\n', ""]),
    (["2024-01-01T12:00:00Z", "2024-01-01T13:00:00+01:00", ""], "timestamp", [NOON, NOON, None]),
    (["2024-01-01T12:00:00Z", "2024-01-01T12:00:00"], "timestamp", [NOON, NOON]),
    (["2024-01-01T12:00:00Z", "soon"], "text", ["2024-01-01T12:00:00Z", "soon"]),
    ([{"a": 1}, [1, "x"]], "json", ['{"a":1}', '[1,"x"]']),
    ([1, "1", ""], "bigint", [1, 1, None]),
    (["2", 1.5], "double", [2.0, 1.5]),
    (["1", "22"], "text", ["1", "22"]),
    ([1, "01"], "text", ["1", "01"]),
    ([5.0, "a", True], "text", ["5.0", "a", "true"]),
    ([{"a": "b\n"}, "c\n"], "text", ['{"a":"b\\n"}', "c\n"]),
    ([2**64, 1], "text", [str(2**64), "1"]),
    (["", 1], "bigint", [None, 1]),
    (["", None], "text", ["", None]),
    ([None], "None", [None]),
]


@pytest.mark.parametrize(("values", "data_type", "held"), INFERRED, ids=str)
def test_a_new_column_gets_the_least_type_that_holds_all_its_values_in_whatever_order(
    tmp_path: Path, values: list[Any], data_type: str, held: list[Any]
) -> None:
    assert values_of(tmp_path / "one", values) == (data_type, held)
    assert values_of(tmp_path / "other", values[::-1]) == (data_type, held[::-1])


CONVERTED: list[tuple[DataTypeName, list[Any], list[Any]]] = [
    ("bigint", [1, "2", 3.0, ""], [1, 2, 3, None]),
    ("double", [1, "2.5", 3.5], [1.0, 2.5, 3.5]),
    ("bool", [True, "false", 1], [True, False, True]),
    ("timestamp", [1704110400, "1704110400000", "2024-01-01T12:00:00Z"], [NOON, NOON, NOON]),
    ("text", [1, True, "a", [1]], ["1", "true", "a", "[1]"]),
    ("json", [1, True, "a", [1]], ["1", "true", '"a"', "[1]"]),
]


@pytest.mark.parametrize(("data_type", "values", "held"), CONVERTED)
def test_a_column_that_the_table_has_keeps_its_type_and_takes_what_can_be_converted(
    tmp_path: Path, data_type: DataTypeName, values: list[Any], held: list[Any]
) -> None:
    listing = listing_of(tmp_path, [[{"id": index, "x": value} for index, value in enumerate(values)]])
    typed = listing.typed({"x": data_type})
    assert typed.types == {"id": "bigint", "x": data_type}
    assert [row["x"] for row in rows_of(typed)] == held


def test_what_cannot_be_converted_goes_to_the_variant_column_of_its_own_type(tmp_path: Path) -> None:
    values: list[Any] = [1, "a", 2.5, True, {"b": 2**70}, "2024-01-01T12:00:00Z", 2**70]
    listing = listing_of(tmp_path, [[{"id": index, "x": value}] for index, value in enumerate(values)])
    typed = listing.typed({"x": "bigint"})
    assert typed.schema.field("x__v_double").type == pa.float64()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows_of(typed)] == [
        {"id": 0, "x": 1},
        {"id": 1, "x__v_text": "a"},
        {"id": 2, "x__v_double": 2.5},
        {"id": 3, "x__v_bool": True},
        {"id": 4, "x__v_json": f'{{"b":{2**70}}}'},
        {"id": 5, "x__v_text": "2024-01-01T12:00:00Z"},
        {"id": 6, "x__v_text": str(2**70)},
    ]


def test_a_field_that_was_always_null_has_no_column_unless_the_table_has_it(tmp_path: Path) -> None:
    listing = listing_of(tmp_path, [[{"id": 1, "x": None}]])
    assert listing.typed({}).schema.names == ["id"]
    assert listing.typed({"x": "bool"}).schema.field("x").type == pa.bool_()


def test_a_column_of_the_key_has_no_variant_and_gets_the_type_that_holds_all_its_values(tmp_path: Path) -> None:
    listing = listing_of(tmp_path, [[{"code": 1}, {"code": "a"}]], key=("code",))
    assert listing.typed({"code": "bigint"}).types == {"code": "text"}
    assert listing_of(tmp_path, [[{"code": 1}, {"code": "2"}]], key=("code",)).typed({"code": "bigint"}).types == {
        "code": "bigint"
    }


def test_a_listing_without_a_model_and_without_records_has_a_key(tmp_path: Path) -> None:
    listing = listing_of(tmp_path, [], key=("code",)).typed({})
    assert listing.schema.names == ["code"]
    assert rows_of(listing) == []
