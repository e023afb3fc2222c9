"""Columns, derived from the models: what dlt and Arrow are told about a table."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from crm_assets.models.record import BaseRecord, DataType, Reference, data_type_of, marks_of

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


@cache
def column_name(field: str) -> str:
    """Return the name in the warehouse of the CRM's field `field`: snake case, as dlt writes it."""
    from dlt.common.normalizers.naming.snake_case import NamingConvention  # the sandbox does without dlt

    name = NamingConvention().normalize_identifier(field) if field.strip() else "unnamed"
    ours = name.startswith(RESERVED_PREFIX) or name in (DELETED_AT, MISSING_SINCE, OTHER_FIELDS)
    return f"crm_{name.lstrip('_')}" if ours else name


def dlt_columns(columns: Sequence[Column]) -> "TTableSchemaColumns":
    """Return the hints of `columns` for dlt."""
    return {column.name: _hint(column) for column in columns}


def column_hints(columns: Sequence[Column], names: Iterable[str], key: Collection[str]) -> "TTableSchemaColumns":
    """Return the hints of `columns`, and of those in `names` that no model declares; `key` are those of the key.

    Each says whether it is of the key: dlt would go on with what an earlier load said.
    """
    declared = dlt_columns(columns)
    hints = {**declared, **{name: undeclared_hint(name) for name in names if name not in declared}}
    for name, hint in hints.items():
        hint["primary_key"] = name in key
        hint["nullable"] = hint.get("nullable", True) and name not in key
    return hints


def deletion_hints() -> "TTableSchemaColumns":
    """Return the hints of the columns that say what became of records that the CRM no longer lists."""
    return {name: {"name": name, "data_type": "timestamp", "nullable": True} for name in (MISSING_SINCE, DELETED_AT)}


def undeclared_hint(name: str) -> "TColumnSchema":
    """Return the hint of a column that no model declares: JSON holds whatever the CRM sends."""
    return {"name": name, "data_type": "json", "nullable": True}


def _hint(column: Column) -> "TColumnSchema":
    return {
        "name": column.name,
        "data_type": column.data_type.name,
        "nullable": column.nullable,
        "description": column.description,
    }
