"""What a load said of itself: the evidence that is not in the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One load of one resource.

    `fields` holds the JSON types in which each field of the CRM came, none for one that was always null.
    """

    load_id: str
    records: int
    rows: int
    """Rows that it brought to the table, each `id` once."""
    rejected: int
    table_rows: int
    """Rows in the table after it."""
    repeated_ids: Sequence[int]
    moved_ids: Sequence[int]
    """Identifiers that came more than once because the record was changed while the listing was read."""
    gone: int
    """Rows of the table whose records the listing had not."""
    rows_before: int
    """Rows in the table before the load, without those that were flagged as deleted."""
    deletes_blocked: bool
    """Whether that was so doubtful that none was deleted."""
    short: bool
    """Whether the CRM said that it had more records than it listed."""
    fields: Mapping[str, Sequence[str]]
