"""What every record has in common, and the words in which a model speaks of its columns."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from crm_assets.models.values import CONVERT, DataTypeName, TimeUnit, to_timestamp


@dataclass(frozen=True)
class DataType:
    """The column type of a field, in dlt's options. `unit` is the one in which the CRM sends a time."""

    name: DataTypeName
    unit: TimeUnit | None = None

    def convert(self, value: Any) -> Any:
        """Return what a column holds of `value`, which is not None; see `values`.

        Raises:
            ValueError: a column cannot hold it.
        """
        return to_timestamp(value, self.unit) if self.name == "timestamp" else CONVERT[self.name](value)


@dataclass(frozen=True)
class Limits:
    """What a sensible number is: from `low` to `high`, None for no limit. Checked in the warehouse, not at the door."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Contains:
    """A piece that every sensible text of the field contains."""

    piece: str


@dataclass(frozen=True)
class Planned:
    """A time that people plan or the CRM shifts, so that it may lie in the future or long ago."""


@dataclass(frozen=True)
class Reference:
    """The field holds an identifier, or a list of them, of another resource."""

    resource: str


BigInt = Annotated[int, DataType("bigint")]
Text = Annotated[str, DataType("text")]
Bool = Annotated[bool, DataType("bool")]
Double = Annotated[float, DataType("double")]
Seconds = Annotated[datetime, DataType("timestamp", "s")]
Milliseconds = Annotated[datetime, DataType("timestamp", "ms")]
Timestamp = Annotated[datetime, DataType("timestamp")]
PlannedSeconds = Annotated[datetime, DataType("timestamp", "s"), Planned()]
Percent = Annotated[int, DataType("bigint"), Limits(0, 100)]
Size = Annotated[int, DataType("bigint"), Limits(0)]
Amount = Annotated[float, DataType("double"), Limits(0)]
Email = Annotated[str, DataType("text"), Contains("@")]
CompanyId = Annotated[str, DataType("text"), Reference("companies")]
ContactId = Annotated[int, DataType("bigint"), Reference("contacts")]
ContactIds = Annotated[Any, DataType("json"), Reference("contacts")]
DealIds = Annotated[Any, DataType("json"), Reference("deals")]
Json = Annotated[Any, DataType("json")]
"""A nested value, of whatever shape the CRM sends."""


class BaseRecord(BaseModel):
    """One record of a resource whose key is not `id`. Fields carry the CRM's own names; others are kept as sent."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    preview: ClassVar[tuple[str, ...]] = ()
    """What a person would look at first: names of fields, or `field.part` for a part of a nested one, which is a key
    of an object or a name in a list of names and values."""

    @field_validator("*", mode="before")
    @classmethod
    def _undo_habits(cls, value: Any, info: ValidationInfo) -> Any:
        data_type = data_type_of(cls, str(info.field_name))
        return value if value is None or data_type.name == "json" else data_type.convert(value)


class Record(BaseRecord):
    """One record of a resource whose key is `id`, a number."""

    id: BigInt = Field(description="Identifier that the CRM gave the record; never used twice in one resource.")


def data_type_of(model: type[BaseRecord], field: str) -> DataType:
    """Return the column type that `model` declares for `field`."""
    return next(mark for mark in marks_of(model, field) if isinstance(mark, DataType))


def marks_of(model: type[BaseRecord], field: str) -> list[Any]:
    """Return all that `model` says about `field` beside its Python type."""
    info = model.model_fields[field]
    return [*info.metadata, *(mark for part in get_args(info.annotation) for mark in get_args(part)[1:])]
