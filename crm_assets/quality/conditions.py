"""Conditions that no sensible row breaks, derived from the models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crm_assets.models.columns import Column
from crm_assets.models.record import Contains, Limits, Planned

FIRST_SENSIBLE = "2000-01-01 00:00:00+00"
LAST_SENSIBLE_PLAN = "2400-01-01 00:00:00+00"


@dataclass(frozen=True)
class Condition:
    """Something that a value of `column` should not be. `template` is SQL with the columns' names in braces."""

    name: str
    column: str
    template: str
    columns: tuple[str, ...]

    def sql(self, quote: Callable[[str], str]) -> str:
        """Return the condition of the rows that break it."""
        return self.template.format(*(quote(column) for column in self.columns))


def conditions(columns: Sequence[Column]) -> list[Condition]:
    """Return what should not be in `columns`, those that are in the table with their declared type."""
    names = {column.name for column in columns}
    found = [condition for column in columns for condition in _of_column(column)]
    if {"created_time", "updated_time"} <= names:
        both = ("created_time", "updated_time")
        found.append(Condition("created_time is after updated_time", "created_time", "{0} > {1}", both))
    return found


def _of_column(column: Column) -> list[Condition]:
    found: list[Condition] = []

    def never(what: str, template: str) -> None:
        found.append(Condition(f"{column.name} {what}", column.name, template, (column.name,)))

    for mark in column.marks:
        match mark:
            case Limits(low=low, high=high):
                if low is not None:
                    never(f"is below {low:g}", f"{{0}} < {low:g}")
                if high is not None:
                    never(f"is above {high:g}", f"{{0}} > {high:g}")
            case Contains(piece=piece):
                never(f"has no {piece}", f"{{0}} <> '' AND {{0}} NOT LIKE '%{piece}%'")
            case Planned():
                never("is after 2400", f"{{0}} > TIMESTAMPTZ '{LAST_SENSIBLE_PLAN}'")
    if column.data_type.name == "timestamp" and Planned() not in column.marks:
        never("is in the future", "{0} > CURRENT_TIMESTAMP + INTERVAL '1 day'")
        never("is before 2000", f"{{0}} < TIMESTAMPTZ '{FIRST_SENSIBLE}'")
    return found
