"""Pipelines, deals, and what is done about them: tasks, events, notes, documents, campaigns."""

from typing import Any

import orjson

from crm_assets.sandbox.draft import DAY, NEVER, Draft
from crm_assets.sandbox.ids import id_of
from crm_assets.sandbox.people import company_facts, mention, mention_in_full
from crm_assets.sandbox.words import CAMPAIGNS, CHORES, COLOURS, FILES, MEETINGS, PHRASES, PRODUCTS, TAGS

_PIPELINES = (
    ("Sales", ("New", "Prospect", "Proposal", "Negotiation", "Won", "Lost")),
    ("Partner", ("Erstkontakt", "Prüfung", "Angebot", "Gewonnen", "Verloren")),
    ("Renewals", ("Due", "Offered", "Renewed", "Churned")),
)
_UNSET_DAY = -19_800  # the CRM shifts an unset day by the time zone, here India's


def milestone(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a pipeline."""
    name, stages = _pipeline(draft.index)
    return {
        "name": name,
        "milestones": ",".join(stages),
        "won_milestone": stages[-2],
        "lost_milestone": stages[-1],
        "isDefault": draft.index == 0,
        "deals_exist": draft.counts["deals"] > 0,
    }


def deal(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a deal."""
    track = draft.one("milestone")
    stages = _pipeline(track or 0)[1]
    at = draft.below(len(stages))
    won, lost = at == len(stages) - 2, at == len(stages) - 1
    people, notes = draft.some("contacts", 3), draft.some("notes", 2)
    value = draft.amount(250_000)
    percent = draft.pick((0, 0, 5, 10, 20))
    return {
        "name": deal_name(draft, draft.index),
        "description": draft.pick(PHRASES),
        "pipeline_id": None if track is None else id_of(draft.seed, "milestone", track),
        "milestone": stages[at],
        "probability": 100 if won else 0 if lost else (at + 1) * 100 // len(stages),
        "expected_value": value,
        "currency_conversion_value": value,
        "apply_discount": percent > 0,
        "discount_type": "Percent",
        "discount_value": float(percent),
        "discount_amt": round(value * percent / 100, 2),
        "total_deal_value": round(value * (100 - percent) / 100, 2),
        "close_date": draft.created + draft.below(180) * DAY,
        "won_date": draft.since(draft.created) if won else NEVER,
        "milestone_changed_time": draft.since_or_never(draft.created),
        "lost_reason_id": id_of(draft.seed, "lost_reasons", draft.below(4)) if lost else 0,
        "deal_source_id": id_of(draft.seed, "deal_sources", draft.below(4)),
        "contact_ids": draft.ids("contacts", people),
        "contacts": [mention(draft, index) for index in people],
        "note_ids": draft.ids("notes", notes),
        "notes": [_note_in_deal(draft, index) for index in notes[:1]],
        "note_created_time": draft.since(draft.created) if notes else NEVER,
        "owner": draft.user(),
        "colorName": draft.pick(COLOURS),
        "entity_type": "deal",
        "custom_data": [{"name": "Region", "value": draft.pick(("EMEA", "APAC", 7))}] if draft.one_in(3) else [],
        "products": [_product(draft)] if draft.one_in(4) else [],
        "tags": [draft.pick(TAGS)] if draft.one_in(3) else [],
        "archived": draft.one_in(10),
    }


def deal_extras(draft: Draft) -> dict[str, Any]:
    """Return fields of a deal that no model declares, now and then."""
    forecast = draft.pick(("commit", "best case", "pipeline", "omitted", 3))
    return {"forecastCategory": forecast} if draft.one_in(5) else {}


def deal_name(draft: Draft, index: int) -> str:
    """Return the name of deal number `index`."""
    return f"{company_facts(draft.seed, index).name} / {PRODUCTS[index % len(PRODUCTS)]}"


def note(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a note."""
    people = draft.some("contacts", 2)
    return {
        "subject": draft.pick(MEETINGS),
        "description": draft.pick(PHRASES),
        "contact_ids": draft.ids("contacts", people),
        "contacts": [mention(draft, index) for index in people],
        "deal_ids": draft.ids("deals", draft.some("deals", 1)),
        "domainOwner": draft.user(),
        "entity_type": "note",
    }


def task(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a task."""
    deals, people = draft.some("deals", 2), draft.some("contacts", 1)
    status = draft.pick(("YET_TO_START", "IN_PROGRESS", "COMPLETED"))
    done = status == "COMPLETED"
    begun = NEVER if status == "YET_TO_START" else draft.since(draft.created)
    return {
        "type": draft.pick(("CALL", "EMAIL", "FOLLOW_UP", "MEETING", "MILESTONE", "SEND", "TWEET", "OTHER")),
        "subject": f"{draft.pick(CHORES)} {company_facts(draft.seed, draft.index).name}",
        "taskDescription": draft.pick(PHRASES),
        "priority_type": draft.pick(("HIGH", "NORMAL", "NORMAL", "LOW")),
        "status": status,
        "is_complete": done,
        "progress": 100 if done else draft.below(20) * 5 if begun else 0,
        "task_start_time": begun,
        "task_completed_time": draft.since(begun) if done else NEVER,
        "due": _UNSET_DAY if draft.one_in(25) else draft.created + draft.below(120) * DAY,
        "deal_ids": draft.ids("deals", deals),
        "deals": [_deal_mention(draft, index) for index in deals],
        "contacts": [mention(draft, index) for index in people],
        "note_ids": draft.ids("notes", draft.some("notes", 1)),
        "taskOwner": draft.user(),
        "entity_type": "task",
    }


def event(draft: Draft) -> dict[str, Any]:
    """Return what is particular to an event."""
    start = draft.created + draft.below(90) * DAY
    return {
        "title": f"{draft.pick(MEETINGS)} / {company_facts(draft.seed, draft.index).name}",
        "start": start,
        "end": start + (1 + draft.below(6)) * 1800,
        "allDay": draft.one_in(8),
        "color": draft.pick(("red", "#36C", "green")),
        "contacts": [mention(draft, index) for index in draft.some("contacts", 2)],
        "owner": draft.user(),
    }


def campaign(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a campaign."""
    owner = draft.user()
    steps = {"nodes": [{"id": "PBXNODE", "displayname": "Send e-mail", "delay": draft.below(10)}]}
    return {
        "name": f"{draft.pick(CAMPAIGNS)} {2015 + draft.index % 12}",
        "creatorName": owner["name"],
        "domainUserId": int(owner["id"]),
        "access_level": 1 if draft.below(4) else int(owner["id"]),
        "category": draft.below(5),
        "is_disabled": draft.one_in(5),
        "rules": orjson.dumps(steps).decode(),
        "trigger": {"event_type": draft.pick(("TAG_IS_ADDED", "CONTACT_IS_ADDED")), "is_disabled": draft.one_in(5)},
        "unsubscribe": {
            "action": draft.pick(("UNSUBSCRIBE_FROM_ALL", "UNSUBSCRIBE_FROM_THIS_CAMPAIGN")),
            "tag": "",
            "unsubscribe_email": "news@sandbox.example",
            "is_unsubscribe_email_disabled": False,
        },
    }


def document(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a document."""
    deals, people = draft.some("deals", 1), draft.some("contacts", 2)
    name = f"{draft.pick(FILES)} {company_facts(draft.seed, draft.index).name}"
    return {
        "name": name,
        "dummy_name": f"document-{draft.index}",
        "doc_type": "SENDDOC",
        "network_type": draft.pick(("GOOGLE", "S3")),
        "template_type": "pdf",
        "size": draft.wide(20_000_000),
        "update": draft.below(9),
        "text": "" if draft.below(3) else draft.pick(PHRASES),
        "url": f"https://files.sandbox.example/{draft.id}.pdf",
        "contact_ids": draft.ids("contacts", people),
        "contacts": [mention(draft, index) for index in people],
        "relatedContacts": [mention_in_full(draft, index) for index in people[:1]],
        "deal_ids": draft.ids("deals", deals),
        "deals": [_deal_mention(draft, index) for index in deals],
        "owner": draft.user(),
        "entity_type": "document",
    }


def _pipeline(index: int) -> tuple[str, tuple[str, ...]]:
    name, stages = _PIPELINES[index % len(_PIPELINES)]
    return (name if index < len(_PIPELINES) else f"{name} {index}"), stages


def _deal_mention(draft: Draft, index: int) -> dict[str, Any]:
    return {"id": draft.id_number("deals", index), "name": deal_name(draft, index)}


def _note_in_deal(draft: Draft, index: int) -> dict[str, Any]:
    return {
        "id": draft.id_number("notes", index),
        "subject": draft.pick(MEETINGS),
        "description": draft.pick(PHRASES),
        "created_time": draft.since(draft.created),
        "contact_ids": [],
        "deal_ids": [str(draft.id)],
        "domainOwner": draft.user(),
        "entity_type": "note",
    }


def _product(draft: Draft) -> dict[str, Any]:
    quantity, price = 1 + draft.below(20), draft.amount(500)
    return {"name": draft.pick(PRODUCTS), "qty": quantity, "price": price, "total": quantity * price}
