"""Made-up records: one pure function from seed, resource and number to a record, with the CRM's habits.

The models say which fields there are and of what type; `details` has only what must agree between fields.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from crm_assets.models.record import Contains, Limits, Planned, Reference, data_type_of, marks_of
from crm_assets.models.values import to_timestamp
from crm_assets.sandbox.details import DETAILS, mention, title_of
from crm_assets.sandbox.draft import Draft
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.words import UNDECLARED, WORDS

Fill = Callable[[Draft], Any]
Change = Callable[[Any], Any]

_ABSENT: Final = object()
_FIRM: Final = (
    "id",
    "count",
    "created_time",
    "properties",
    "name",
    "subject",
    "title",
    "status",
    "milestone",
    "milestones",
)
"""Fields that are never missing or null: without them a record says nothing to the person who looks at it."""
_WORDS_FOR_BOOL: Final = (
    *("archived", "apply_discount", "is_complete", "allDay", "is_event_starred", "deals_exist", "isDefault"),
    *("is_disabled", "is_default_filter", "is_favorite", "is_spam"),
)
"""Fields that are now and then `"true"` or `"false"`, as text."""
_MENTIONS: Final = {"contacts": "contacts", "deals": "deals", "notes": "notes", "relatedContacts": "contacts"}
"""Lists of mentions, and of which resource."""
_USERS: Final = ("owner", "assignee", "taskOwner", "domainOwner")
"""Fields that hold a user of the CRM."""
_BY_NAME: Final[dict[str, Fill]] = {
    "id": lambda draft: draft.id,
    "count": lambda draft: _ABSENT if draft.index else draft.counts[draft.resource],
    "owner_id": lambda draft: draft.user()["id"],
    "viewer_id": lambda draft: draft.user()["id"],
    "custom_data": lambda draft: draft.pick(([], [{"name": "Region", "value": "EMEA"}])),
    "conditions": lambda draft: [{"LHS": "status", "CONDITION": "EQUALS", "RHS": draft.pick(("NEW", "OPEN"))}],
    "trigger": lambda draft: {"event_type": "TAG_IS_ADDED", "is_disabled": not draft.below(4)},
    "unsubscribe": lambda draft: {"action": "UNSUBSCRIBE_FROM_ALL", "tag": ""},
    "viewed": lambda draft: {"viewed_time": draft.updated * 1000, "viewer_id": draft.user()["id"]},
    "products": lambda draft: draft.pick(([], [{"name": "licence", "qty": 2, "price": 49.5}])),
    "trashed_time": lambda draft: 0 if draft.below(20) else draft.updated,
    "restored_time": lambda draft: 0 if draft.below(20) else draft.updated,
    "entity_type": lambda draft: MODELS[draft.resource].__name__.lower(),
    "created_time": lambda draft: draft.created,
    "updated_time": lambda draft: draft.updated,
    "last_updated_time": lambda draft: draft.updated,
}
_BY_TYPE: Final[dict[Any, Fill]] = {
    bool: lambda draft: not draft.below(4),
    int: lambda draft: draft.below(6),
    float: Draft.amount,
    str: lambda draft: draft.pick(WORDS["phrases"]),
    datetime: lambda draft: draft.since(draft.created) if draft.below(2) else 0,
}


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
        record, details = draft.record, DETAILS[resource](draft) if resource in DETAILS else {}
        fields, changes = _plan(resource)
        for field, fill, write in fields:
            value = details[field] if field in details else fill(draft)
            if value is not _ABSENT:
                record[field] = write(value) if write else value
        for _ in range(draft.below(4)):
            field, change = draft.pick(changes)
            if field in record:
                record[field] = change(record[field])
                if record[field] is _ABSENT:
                    del record[field]
        for field, options in UNDECLARED.get(resource, {}).items() if self.undeclared else ():
            if not draft.below(6):
                record[field] = draft.pick(options)
        return record


@cache
def _plan(resource: str) -> tuple[list[tuple[str, Fill, Change | None]], list[tuple[str, Change]]]:
    """Return how each field of `resource` is filled and written, and what else may become of it."""
    model = MODELS[resource]
    fields: list[tuple[str, Fill, Change | None]] = []
    changes: list[tuple[str, Change]] = []
    hints = get_type_hints(model)
    for field in model.model_fields:
        kind = data_type_of(model, field)
        fill = _fill(resource, field, hints[field], marks_of(model, field))
        fields.append((field, fill, _in_milliseconds if kind.unit == "ms" else None))
        changes += [(field, change) for change in _CHANGES.get(kind.name, ())]
        changes += [(field, _lower_text)] if field in _WORDS_FOR_BOOL else []
        if field not in _FIRM:
            changes += [(field, change) for change in _LOSSES.get(kind.name, _TO_NOTHING)]
    return fields, changes


def _fill(owner: str, name: str, kind: Any, marks: Sequence[Any] = ()) -> Fill:
    """Return what fills a field of a model."""
    if get_origin(kind) in (Union, UnionType):
        kind = get_args(kind)[0]
    target = next(
        (mark.resource for mark in marks if isinstance(mark, Reference)), re.sub("(_ids?)?$", "s", name, count=1)
    )
    if options := WORDS.get(f"{owner}.{name}") or WORDS.get(name):
        in_turn = "{}" in options[0]
        return partial(_in_turn, f"{owner}.{name}") if in_turn else lambda draft: draft.pick(options)
    if target in MODELS and name.endswith("_ids"):
        return lambda draft: draft.linked_ids(target)
    if target in MODELS:
        return lambda draft: next((kind(one) for one in draft.linked_ids(target)), None)
    if name in _MENTIONS:
        return lambda draft: [mention(draft, _MENTIONS[name], index) for index in draft.linked(_MENTIONS[name])]
    if name in _USERS:
        return Draft.user
    by_type = _BY_TYPE.get(kind, lambda _: [])
    return _BY_NAME.get(name) or _text_of(owner, name) or next(filter(None, map(_by_mark, marks)), by_type)


def _in_turn(field: str, draft: Draft) -> str:
    return title_of(draft.seed, field, draft.index)


def _text_of(owner: str, name: str) -> Fill | None:
    """Return what says as text what another field says: priorityName, sourceFrom, is_favoriteString."""
    base = re.sub("(String|Name|From)$", "", name)
    if base == name or base not in MODELS[owner].model_fields:
        return None
    return lambda draft: str(draft.record[base]).replace("_", " ").capitalize()


def _by_mark(mark: Any) -> Fill | None:
    match mark:
        case Planned():
            return Draft.planned
        case Contains(piece=piece):
            return lambda draft: f"user{draft.below(1000)}{piece}mail.example"
        case Limits(low=low, high=high):
            least, numbers = int(low or 0), 20_000_000 if high is None else int(high) + 1
            return lambda draft: least + draft.wide(numbers - least)
    return None


def _in_milliseconds(moment: int) -> int:
    return moment * 1000 + moment % 1000


def _text(value: Any) -> str | None:
    return None if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _lower_text(value: Any) -> str | None:
    return None if value is None else str(value).lower()


def _iso(value: Any) -> Any:
    moment = to_timestamp(value) if value else None
    return moment.isoformat() if moment else value


_CHANGES: Final[dict[str, tuple[Change, ...]]] = {
    "bigint": (_text,),
    "double": (_text,),
    "timestamp": (_text, _iso),
}
"""How a value may arrive otherwise than as JSON has it for its type."""
_TO_NOTHING: Final[tuple[Change, ...]] = (lambda _: None, lambda _: _ABSENT)
_LOSSES: Final[dict[str, tuple[Change, ...]]] = dict.fromkeys(("bigint", "double"), (*_TO_NOTHING, lambda _: ""))
"""How a value may fail to arrive: an empty text stands for no number."""
