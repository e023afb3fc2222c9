"""Lists of the parents under which a record was found."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crm_assets.extract.collected import merged, with_member
from crm_assets.extract.spool import ListingSpool
from crm_assets.models.columns import collected_column


@pytest.mark.parametrize(
    ("found", "value", "wanted"),
    [
        (None, 5, ["5"]),
        ("", 5, ["5"]),
        ([], "5", ["5"]),
        (["7", 6], 5, ["5", "6", "7"]),
        ([5, "5"], "5", ["5"]),
        ({"id": 7}, 5, {"id": 7}),
        ("7,8", 5, "7,8"),
    ],
)
def test_a_parent_joins_the_list_of_the_record_once(found: Any, value: Any, wanted: Any) -> None:
    assert with_member(found, value) == wanted


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (['["2"]', '["1","2"]'], '["1","2"]'),
        (['["1"]', None], '["1"]'),
        ([None, None], None),
        (['["1"]', '{"id":7}'], '{"id":7}'),
    ],
)
def test_lists_of_several_copies_are_one(texts: list[str | None], wanted: str | None) -> None:
    assert merged(texts) == wanted


def test_copies_of_a_record_are_one_row_with_all_parents_and_nothing_is_called_repeated(tmp_path: Path) -> None:
    columns = (collected_column("filter_ids", "filters"),)
    spool = ListingSpool(tmp_path, "tickets", columns, key=("id",), collected=("filter_ids",), may_repeat=True)
    spool.add([{"id": 1, "filter_ids": ["a"]}, {"id": 2, "filter_ids": ["a"]}])
    spool.add([{"id": 1, "filter_ids": ["b"]}])
    listing = spool.complete().newest()
    assert (listing.rows, listing.repeated_ids, listing.moved_ids) == (2, (), ())
    rows = {row["id"]: row["filter_ids"] for row in pa.concat_tables(listing.tables()).to_pylist()}
    assert rows == {"1": '["a","b"]', "2": '["a"]'}

    first, *_ = listing.keys().to_pylist()
    known = listing.with_known_lists({first: ['["c"]'], "another": ['["d"]']})
    rows = {row["id"]: row["filter_ids"] for row in pa.concat_tables(known.tables()).to_pylist()}
    assert rows == {"1": '["a","b","c"]', "2": '["a"]'}
