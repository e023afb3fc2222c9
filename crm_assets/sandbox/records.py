"""Made-up records: one pure function from seed, resource and number to a record, with the CRM's habits.

The makers say what is particular to a resource, in plain values. Everything else comes from the
model by type, and the same types decide how a value is written: a number as text now and then,
a time in the model's unit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from crm_assets.models import MODELS
from crm_assets.models.record import DataType, data_type_of
from crm_assets.sandbox import helpdesk, people, sales
from crm_assets.sandbox.draft import Draft
from crm_assets.sandbox.ids import id_of, index_of
from crm_assets.sandbox.words import PHRASES

_ABSENT: Final = object()
_Maker = Callable[[Draft], dict[str, Any]]
_Fill = Callable[[Draft], Any]
_Write = Callable[[Draft, Any], Any] | None

_MAKERS: dict[str, _Maker] = {
    "contacts": people.contact,
    "companies": people.company,
    "deals": sales.deal,
    "notes": sales.note,
    "tasks": sales.task,
    "events": sales.event,
    "milestone": sales.milestone,
    "campaigns": sales.campaign,
    "documents": sales.document,
    "ticket_filters": helpdesk.ticket_filter,
    "tickets": helpdesk.ticket,
}
_EXTRAS: dict[str, _Maker] = {
    "contacts": people.contact_extras,
    "deals": sales.deal_extras,
    "tickets": helpdesk.ticket_extras,
}
_FIRM = frozenset({"id", "created_time", "properties", "name", "subject", "title", "status", "milestone", "milestones"})
"""Fields that are always there: without them a record says nothing to the person who looks at it."""


@dataclass(frozen=True)
class World:
    """Every record that a sandbox begins with, by seed and number per resource; none is stored."""

    seed: int
    counts: Mapping[str, int]
    undeclared: bool = True
    """Whether some records carry fields that no model declares."""

    def record(self, resource: str, index: int) -> dict[str, Any]:
        """Return record number `index` of `resource`; beyond the count, one that was created later."""
        draft = Draft(self.seed, self.counts, resource, index)
        maker, extras = _MAKERS.get(resource), _EXTRAS.get(resource)
        particular = maker(draft) if maker else {}
        record: dict[str, Any] = {}
        plan, soft = _plan(resource)
        for field, fill, write in plan:
            value = particular[field] if field in particular else fill(draft)
            if value is not _ABSENT:
                record[field] = value if write is None or value is None else write(draft, value)
        for _ in range(draft.below(3)):
            record[draft.pick(soft)] = None
            record.pop(draft.pick(soft), None)
        if "count" in record:
            record["count"] = self.counts[resource]
        return {**record, **extras(draft)} if extras and self.undeclared else record

    def id_of(self, resource: str, index: int) -> int:
        """Return the identifier of record number `index`."""
        return id_of(self.seed, resource, index)

    def index_of(self, resource: str, number: int) -> int:
        """Return the number of the record with that identifier; far beyond any count if there is none."""
        return index_of(self.seed, resource, number)


@cache
def _plan(resource: str) -> tuple[tuple[tuple[str, _Fill, _Write], ...], tuple[str, ...]]:
    model = MODELS[resource]
    types = {field: data_type_of(model, field) for field in model.model_fields}
    plan = tuple((field, _BY_NAME.get(field) or _FILL[kind.name], _written(kind)) for field, kind in types.items())
    return plan, tuple(field for field in types if field not in _FIRM and field != "count")


_BY_NAME: dict[str, _Fill] = {
    "id": lambda draft: draft.id,
    "count": lambda draft: _ABSENT if draft.index else 0,
    "created_time": lambda draft: draft.created,
    "uploaded_time": lambda draft: draft.created,
    "updated_time": lambda draft: draft.updated,
    "last_updated_time": lambda draft: draft.updated,
}
_FILL: dict[str, _Fill] = {
    "bigint": lambda draft: draft.below(1000),
    "bool": lambda draft: draft.one_in(4),
    "double": lambda draft: draft.amount(10_000),
    "json": lambda draft: [],
    "text": lambda draft: draft.pick(PHRASES),
    "timestamp": lambda draft: draft.since_or_never(draft.created),
}


def _written(kind: DataType) -> _Write:
    if kind.name == "timestamp":
        return _milliseconds if kind.unit == "ms" else _seconds
    return {"bigint": Draft.loose, "double": _double}.get(kind.name)


def _double(draft: Draft, value: float) -> float | str:
    return f"{value:.2f}" if draft.one_in(12) else value


def _seconds(draft: Draft, moment: int) -> int | str:
    if not draft.one_in(20):
        return moment
    return str(moment) if draft.below(3) or moment <= 0 else datetime.fromtimestamp(moment, UTC).isoformat()


def _milliseconds(draft: Draft, moment: int) -> int | str:
    number = moment * 1000 + moment % 1000
    if not draft.one_in(20):
        return number
    if draft.below(3) or moment <= 0:
        return str(number)
    return f"{datetime.fromtimestamp(number / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{number % 1000:03}Z"
