"""Listings on disk."""

from pathlib import Path

import pyarrow as pa

from crm_assets.extract.spool import ListingSpool
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
