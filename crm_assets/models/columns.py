"""Columns, derived from the models: what dlt and Arrow are told about a table."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anyascii import anyascii

from crm_assets.models.record import BaseRecord, DataType, Reference, data_type_of, marks_of
from crm_assets.models.values import CONVERT, DataTypeName

if TYPE_CHECKING:
    from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns

LOAD_ID = "_dlt_load_id"
"""The column in which dlt says which load last brought the row."""

DELETED_AT = "_deleted_at"
"""The column that says since when the record is known to be deleted; NULL while it is not."""

MISSING_SINCE = "_missing_since"
"""The column that says which load first missed the record in the CRM's listing; NULL while it is listed."""

OTHER_FIELDS = "other_fields"
"""The column for the undeclared fields that are too many for a column each."""

_VARIANT = "__v_"
"""What dlt puts between the name of a column and a data type, for the values that the column does not hold. No field
of the CRM becomes such a name: in snake case, underscores do not repeat."""

FIELD_HINT = "x-field"
"""The hint in which dlt's schema keeps, in the warehouse, which field of the CRM a column is for."""

RESERVED_PREFIX = "_dlt"
"""Columns that begin so are dlt's own; a field of the CRM never takes such a name."""


@dataclass(frozen=True)
class Column:
    """One declared column: its name in the warehouse, the CRM's field, type, nullability, meaning."""

    name: str
    field: str
    data_type: DataType
    nullable: bool
    description: str
    marks: tuple[Any, ...] = ()
    """What else the model says: limits, references, plans."""

    @property
    def reference(self) -> str | None:
        """The resource that the column's ids refer to, if they do."""
        return next((mark.resource for mark in self.marks if isinstance(mark, Reference)), None)


@cache
def columns_of(model: type[BaseRecord]) -> tuple[Column, ...]:
    """Return the columns that `model` declares, in its order."""
    return tuple(
        Column(
            name=column_name(field),
            field=field,
            data_type=data_type_of(model, field),
            nullable=not info.is_required(),
            description=info.description or "",
            marks=tuple(marks_of(model, field)),
        )
        for field, info in model.model_fields.items()
    )


@lru_cache(maxsize=10_000)
def column_name(field: str) -> str:
    """Return the name in the warehouse of the CRM's field `field`: Latin letters, in snake case as dlt writes it."""
    return earlier_column_name(field if field.isascii() else anyascii(field))


def earlier_column_name(field: str) -> str:
    """Return the name that an earlier version gave to `field`: dlt's, which makes an x of other letters than Latin."""
    from dlt.common.normalizers.naming.snake_case import NamingConvention  # the sandbox does without dlt

    name = NamingConvention().normalize_identifier(field) if field.strip() else "unnamed"
    return f"crm_{name.lstrip('_')}" if is_reserved(name) else name


def is_reserved(name: str) -> bool:
    """Return whether a column `name` is dlt's or ours: none that a field has."""
    return name.startswith(RESERVED_PREFIX) or name in (DELETED_AT, MISSING_SINCE, OTHER_FIELDS)


def collected_column(field: str, parent: str) -> Column:
    """Return the column for the list of those records of `parent` that list a record, which no model declares."""
    return Column(
        name=column_name(field),
        field=field,
        data_type=DataType("json"),
        nullable=True,
        description=f"Identifiers of the {parent} under which the CRM lists the record, as text.",
        marks=(Reference(parent),),
    )


def dlt_columns(columns: Sequence[Column]) -> "TTableSchemaColumns":
    """Return the hints of `columns` for dlt."""
    return {column.name: _hint(column) for column in columns}


def variant_column(name: str, data_type: DataTypeName) -> str:
    """Return the column for the values of the column `name` that it does not hold, and that are of `data_type`."""
    return f"{name}{_VARIANT}{data_type}"


def variant_of(name: str) -> tuple[str, DataTypeName] | None:
    """Return of which column the column `name` is a variant, and its type; None if it is none."""
    column, separator, found = name.rpartition(_VARIANT)
    data_type = next((one for one in CONVERT if one == found), None)
    return (column, data_type) if separator and data_type else None


def column_hints(
    columns: Sequence[Column],
    undeclared: Mapping[str, DataTypeName],
    key: Collection[str],
    fields: Mapping[str, str] = MappingProxyType({}),
) -> "TTableSchemaColumns":
    """Return the hints of a table's columns for dlt.

    Args:
        columns: the declared ones.
        undeclared: the types of the others.
        key: the primary key. Each column says whether it is of it: dlt would go on with what an earlier load said.
        fields: the columns of the fields that no model declares, which then say whose they are.
    """
    hints = dlt_columns(columns)
    hints |= {name: {"name": name, "data_type": kind, "nullable": True} for name, kind in undeclared.items()}
    for field, name in fields.items():
        if name in hints:
            hints[name][FIELD_HINT] = field  # type: ignore[literal-required]
    return {
        name: {**hint, "nullable": name not in key and hint["nullable"], "primary_key": name in key}
        for name, hint in hints.items()
    }


def fields_of(hints: "TTableSchemaColumns") -> dict[str, str]:
    """Return the columns of the fields that no model declares, as `hints` say it; see `column_hints`."""
    found: Mapping[str, Mapping[str, Any]] = hints
    return {hint[FIELD_HINT]: name for name, hint in found.items() if FIELD_HINT in hint}


def deletion_hints() -> "TTableSchemaColumns":
    """Return the hints of the columns that say what became of records that the CRM no longer lists."""
    return {name: {"name": name, "data_type": "timestamp", "nullable": True} for name in (MISSING_SINCE, DELETED_AT)}


def _hint(column: Column) -> "TColumnSchema":
    return {
        "name": column.name,
        "data_type": column.data_type.name,
        "nullable": column.nullable,
        "description": column.description,
    }
