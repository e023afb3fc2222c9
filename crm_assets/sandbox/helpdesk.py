"""Tickets and the filters that show them."""

from datetime import UTC, datetime
from typing import Any

from crm_assets.sandbox.draft import DAY, NEVER, Draft
from crm_assets.sandbox.ids import id_of
from crm_assets.sandbox.people import mention, person_facts
from crm_assets.sandbox.words import GROUPS, PHRASES, TROUBLES

_FILTERS = ("All tickets", "New", "My open tickets", "Overdue", "Favourites", "Spam", "Unassigned", "締切間近")


def ticket(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a ticket."""
    sender = draft.wide(draft.counts["contacts"] or 1)
    known = draft.counts["contacts"] > 0
    person = person_facts(draft.seed, draft.counts, sender)
    name = f"{person.first} {person.last}"
    status, priority = draft.pick(("NEW", "OPEN", "PENDING", "CLOSED")), draft.pick(("LOW", "MEDIUM", "HIGH", "URGENT"))
    source = draft.pick(("EMAIL", "WEB_FORM", "API"))
    agent, group = draft.user(), draft.below(len(GROUPS))
    changed = draft.updated or draft.created
    replied = NEVER if status == "NEW" else _between(draft, draft.created, changed)
    text, starred = draft.pick(PHRASES), draft.one_in(10)
    return {
        "type": draft.pick(("QUESTION", "PROBLEM", "INCIDENT", "TASK")),
        "subject": draft.pick(TROUBLES),
        "status": status,
        "statusName": status.capitalize(),
        "priority": priority,
        "priorityName": priority.capitalize(),
        "source": source,
        "sourceFrom": source.replace("_", " ").capitalize(),
        "created_by": draft.pick(("CUSTOMER", "AGENT", "SYSTEM")),
        "last_updated_by": draft.pick(("CUSTOMER", "AGENT", "SYSTEM")),
        "stringTicketID": str(draft.id),
        "contactID": id_of(draft.seed, "contacts", sender) if known else None,
        "contact": mention(draft, sender) if known else None,
        "contact_ids": draft.ids("contacts", [sender]) if known else [],
        "requester_name": name,
        "last_requester_name": name,
        "requester_email": person.email,
        "requester_ip_address": f"192.0.2.{draft.below(256)}",
        "cc_emails": [f"office@{person.email.partition('@')[2]}"] if draft.one_in(5) else [],
        "assignee": agent,
        "assigneeID": int(agent["id"]),
        "assigned_time": _between(draft, draft.created, changed),
        "assigned_to_group": draft.one_in(4),
        "group": {
            "id": draft.id_number("groups", group),
            "group_name": GROUPS[group],
            "group_email": f"group{group}@sandbox.example",
        },
        "groupID": id_of(draft.seed, "groups", group),
        "first_replied_time": replied,
        "last_agent_replied_time": replied and _between(draft, replied, changed),
        "last_customer_replied_time": replied and _between(draft, replied, changed),
        "createdOn": _for_people(draft.created),
        "lastUpdatedOn": _for_people(changed),
        "dueOn": _for_people(draft.created + draft.below(14) * DAY),
        "closedOn": _for_people(changed) if status == "CLOSED" else "",
        "first_notes_text": text,
        "html_text": f"<p>{text}</p>",
        "last_reply_text": draft.pick(PHRASES),
        "last_ticket_notes": {
            "id": draft.id_number("ticket_notes", draft.index),
            "created_time": changed * 1000,
            "plain_text": draft.pick(PHRASES),
            "ticket_notes_assinee": agent,
        },
        "is_favorite": starred,
        "is_favoriteString": str(starred).lower(),
        "attachments_exists": False,
        "attachments_existsString": "false",
        "is_spam": draft.one_in(30),
        "labels": [draft.pick(("billing", "bug", "à revoir"))] if draft.one_in(4) else [],
        "no_of_reopens": draft.below(3),
        "user_replies_count": draft.below(6),
        "entity_type": "ticket",
    }


def ticket_extras(draft: Draft) -> dict[str, Any]:
    """Return fields of a ticket that no model declares, now and then."""
    rating = 1 + draft.below(5)
    answers = ({"rating": rating, "comment": draft.pick(PHRASES)}, {"rating": str(rating)}, [rating], rating)
    return {"satisfaction": draft.pick(answers)} if draft.one_in(4) else {}


def ticket_filter(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a ticket filter."""
    again = draft.index // len(_FILTERS)
    return {
        "name": _FILTERS[draft.index % len(_FILTERS)] + (f" {again + 1}" if again else ""),
        "conditions": [{"LHS": "status", "CONDITION": "EQUALS", "RHS": draft.pick(("NEW", "OPEN", "CLOSED"))}],
        "is_default_filter": draft.index < len(_FILTERS),
        "owner_id": id_of(draft.seed, "users", 10 + draft.below(6)),
        "ticketGroups": [],
    }


def _between(draft: Draft, first: int, last: int) -> int:
    return first + draft.wide(last - first + 1)


def _for_people(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%d %b %Y %H:%M")
