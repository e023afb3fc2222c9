"""What warehouses call the types of columns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crm_assets.models.values import CONVERT, DataTypeName

if TYPE_CHECKING:
    from dlt.destinations.sql_client import SqlClientBase

TYPE_NAMES: Mapping[DataTypeName, tuple[str, ...]] = {
    "bigint": ("bigint",),
    "text": ("varchar", "text", "character varying"),
    "bool": ("boolean",),
    "double": ("double", "double precision"),
    "timestamp": ("timestamp with time zone",),
    "json": ("json", "jsonb"),
}
"""What DuckDB and Postgres call each of dlt's types in their information schema."""

FULLY_KNOWN = ("duckdb", "postgres")
"""Dialects whose every type name is above, so that any other name is another type."""


def plain_type(found: str) -> str:
    """Return the name of a type as the warehouse reports it, in lower case and without its arguments."""
    return found.lower().split("(")[0].strip()


def data_type_of(found: str) -> DataTypeName | None:
    """Return which of dlt's types the warehouse calls `found`; None for a type that no column of ours has."""
    return next((data_type for data_type, names in TYPE_NAMES.items() if plain_type(found) in names), None)


def data_type_in(client: "SqlClientBase[Any]", found: str) -> DataTypeName | None:
    """Return which of dlt's types the warehouse of `client` calls `found`; None for one that no column of ours has."""
    if (ours := data_type_of(found)) or client.capabilities.sqlglot_dialect in FULLY_KNOWN:
        return ours
    mapped = client.capabilities.get_type_mapper().from_destination_type(found.lower(), None, None).get("data_type")
    return next((one for one in CONVERT if one == mapped), None)
