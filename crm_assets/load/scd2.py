"""Every version of a record: the second table `<resource>_history`, which dlt keeps as a slowly changing dimension."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource

from crm_assets.extract.spool import COUNT, Spooled
from crm_assets.models.by_products import VALID_FROM, VALID_TO, VERSION, history_table


def history(listing: Spooled, columns: TTableSchemaColumns, moment: datetime, ends: str) -> DltResource:
    """Return the dlt resource of the versions of `listing`.

    Args:
        listing: a complete listing.
        columns: the hints of its columns.
        moment: when versions that are not the same any more ended, and the new ones began.
        ends: SQL condition of the records whose versions end if the listing does not have them.
    """
    strategy: Any = {
        "disposition": "merge",
        "strategy": "scd2",
        "destination_scope": ends,
        "validity_column_names": [VALID_FROM, VALID_TO],
        "row_version_column_name": VERSION,
        "boundary_timestamp": moment,
    }
    return dlt.resource(
        _versions(listing),
        name=history_table(listing.resource),
        write_disposition=strategy,
        # An earlier version had a merge key, of which dlt says that it ignores it.
        columns={name: {**hint, "primary_key": False, "merge_key": False} for name, hint in columns.items()},
    )


def _versions(listing: Spooled) -> Iterator[pa.Table]:
    of_the_listing = any(column.name == COUNT for column in listing.columns)  # not of the record it is on
    for table in listing.tables():
        texts = _texts(table.drop_columns([COUNT]) if of_the_listing else table)
        versions = [sha256(text.encode()).hexdigest() for text in texts.to_pylist()]
        yield table.append_column(VERSION, pa.array(versions, pa.string()))


def _texts(table: pa.Table) -> pa.ChunkedArray:
    """Return each row as text, the same for the same values, whichever columns without a value there are beside."""
    names = sorted(table.column_names)
    parts = [pc.binary_join_element_wise(name, pc.cast(table[name], pa.string()), "=") for name in names]
    return pc.binary_join_element_wise(*parts, "\x1f", null_handling="skip")
