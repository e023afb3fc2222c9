"""What warehouses call the types of columns."""

from collections.abc import Mapping

TYPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "bigint": ("bigint",),
    "text": ("varchar", "text", "character varying"),
    "bool": ("boolean",),
    "double": ("double", "double precision"),
    "timestamp": ("timestamp with time zone",),
    "json": ("json", "jsonb"),
}
"""What DuckDB and Postgres call each of dlt's types in their information schema."""


def plain_type(found: str) -> str:
    """Return the name of a type as the warehouse reports it, in lower case and without its arguments."""
    return found.lower().split("(")[0].strip()
