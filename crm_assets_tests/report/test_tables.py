"""The tables in the metadata of checks, as Dagster has them and as older histories do."""

from typing import Any

import dagster as dg
import pytest

from crm_assets.report.tables import Table, table_of


def test_a_table_of_dagster_is_read() -> None:
    records = [dg.TableRecord({"id": 7, "value": None}), dg.TableRecord({"id": 8, "value": "a|b"})]
    value = dg.MetadataValue.table(records).value
    assert table_of(value) == Table(["id", "value"], [["7", "NULL"], ["8", "a|b"]])


def test_a_table_in_markdown_is_read() -> None:
    text = "| id | value |\n| --- | --- |\n| 7 | None |\n| 8 | a\\|b |"
    assert table_of(text) == Table(["id", "value"], [["7", "None"], ["8", "a|b"]])


def test_a_line_break_in_a_cell_of_markdown_stays_in_it() -> None:
    assert table_of("| id | value |\n|---|---|\n| 7 | two\nlines |\n| 8 | |") == Table(
        ["id", "value"], [["7", "two\nlines"], ["8", ""]]
    )


def test_a_row_of_another_length_is_made_to_fit() -> None:
    assert table_of("| a | b |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |") == Table(["a", "b"], [["1", ""], ["1", "2"]])


@pytest.mark.parametrize("value", ["", "no table", "| a |", "| a | b |\n| 1 | 2 |", 7, None, {"a": 1}])
def test_what_is_no_table_is_none(value: Any) -> None:
    assert table_of(value) is None


def test_the_markdown_of_a_table_is_that_table() -> None:
    table = Table(["id", "value"], [["7", "a|b"], ["8", ""]])
    assert table_of(table.markdown) == table
