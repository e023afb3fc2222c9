"""The fields of a record that must agree with each other, resource by resource; the models drive the others.

Times are epoch seconds, whatever the model's unit.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from crm_assets.sandbox.draft import Draft, RandomValues, id_of
from crm_assets.sandbox.words import PLACES, WORDS, Place, plain

_UNSET_DAY: Final = -19_800  # the CRM shifts an unset day by the time zone, here India's
_FAR_DAY: Final = 11_545_245_654  # in 2335: somebody's typing error


class Person(NamedTuple):
    """What a contact and the records that mention it agree on."""

    first: str
    last: str
    email: str
    company: int | None
    place: Place


@lru_cache(maxsize=4096)
def company_of(seed: int, index: int) -> tuple[str, str, Place]:
    """Return name, domain and place of company number `index`."""
    values = RandomValues(f"{seed}/company/{index}")
    place, stem, trade = values.pick(PLACES), values.pick(WORDS["stems"]), values.pick(WORDS["trades"])
    return place.company.format(f"{stem} {trade}"), f"{plain(stem)}-{plain(trade)}.example", place


def person_of(seed: int, counts: Mapping[str, int], index: int) -> Person:
    """Return what contact number `index` is called, and where the person works."""
    values = RandomValues(f"{seed}/person/{index}")
    company = values.wide(counts["companies"]) if counts["companies"] and values.below(5) else None
    _, domain, place = ("", "mail.example", values.pick(PLACES)) if company is None else company_of(seed, company)
    first, last = values.pick(place.first), values.pick(place.last)
    return Person(first, last, f"{plain(first) or 'me'}.{plain(last) or index}@{domain}", company, place)


def title_of(seed: int, field: str, index: int) -> str:
    """Return what record number `index` says in `field`, one of those of `WORDS` that take turns."""
    return WORDS[field][index % len(WORDS[field])].format(company_of(seed, index)[0])


def mention(draft: Draft, resource: str, index: int) -> dict[str, Any]:
    """Return what every record that mentions number `index` of `resource` says of it."""
    record_id = id_of(draft.seed, resource, index)
    said: dict[str, Any] = {"id": record_id if draft.below(20) else str(record_id)}
    if resource == "contacts":
        said |= {"type": "PERSON", "properties": _names(person_of(draft.seed, draft.counts, index))}
    elif resource == "deals":
        said["name"] = title_of(draft.seed, "deals.name", index)
    return said


def _contacts(draft: Draft) -> dict[str, Any]:
    person = person_of(draft.seed, draft.counts, draft.index)
    draft.links["companies"] = [] if person.company is None else [person.company]
    properties = _names(person)
    properties += [_property("company", company_of(draft.seed, index)[0]) for index in draft.links["companies"]]
    properties += [_property("title", draft.pick(WORDS["titles"]))] if draft.below(3) else []
    properties += [_property("Shoe size", 35 + draft.below(12), type="CUSTOM")] if not draft.below(3) else []
    return _with_address(draft, properties, person.place) | _tags(draft)


def _companies(draft: Draft) -> dict[str, Any]:
    name, domain, place = company_of(draft.seed, draft.index)
    properties = [_property("name", name), _property("url", f"https://www.{domain}")]
    properties += [_property("Employees", draft.wide(5000), type="CUSTOM")]
    return _with_address(draft, properties, place) | _tags(draft)


def _with_address(draft: Draft, properties: list[dict[str, Any]], place: Place) -> dict[str, Any]:
    for kind in ("work", "mobile")[: draft.below(3)]:
        properties += [_property("phone", f"{place.dial} {draft.wide(10_000_000):07}", subtype=kind)]
    if draft.below(2):
        street, town = f"{draft.pick(WORDS['roads'])} {1 + draft.below(200)}", draft.pick(place.towns)
        address = f'{{"address":"{street}","city":"{town}","country":"{place.country}"}}'
        properties += [_property("address", address, subtype="office")]
    if not draft.below(8):
        del draft.pick(properties)["type"]
    return {"properties": properties}


def _tags(draft: Draft) -> dict[str, Any]:
    given = [draft.pick(WORDS["tags"])] if draft.below(2) else []
    times = [{"tag": tag, "createdTime": draft.created * 1000, "availableCount": 1} for tag in given]
    return {"tags": given, "tagsWithTime": times}


def _names(person: Person) -> list[dict[str, Any]]:
    return [
        {"type": "SYSTEM", "name": "first_name", "value": person.first},
        {"type": "SYSTEM", "name": "last_name", "value": person.last},
        {"type": "SYSTEM", "name": "email", "subtype": "work", "value": person.email},
    ]


def _property(name: str, value: str | int, **more: str) -> dict[str, Any]:
    return {"type": "SYSTEM", "name": name, "value": value, **more}


def _milestone(draft: Draft) -> dict[str, Any]:
    again, at = divmod(draft.index, len(WORDS["pipelines"]))
    name, milestones = WORDS["pipelines"][at], WORDS["stages"][at]
    *_, won, lost = milestones.split(",")
    return {
        "name": f"{name} {again + 1}" if again else name,
        "milestones": milestones,
        "won_milestone": won,
        "lost_milestone": lost,
        "isDefault": draft.index == 0,
        "deals_exist": draft.counts["deals"] > 0,
    }


def _deals(draft: Draft) -> dict[str, Any]:
    pipeline = draft.wide(draft.counts["milestone"]) if draft.counts["milestone"] else None
    stages = WORDS["stages"][(pipeline or 0) % len(WORDS["stages"])].split(",")
    at = draft.below(len(stages))
    won, lost = at == len(stages) - 2, at == len(stages) - 1
    value, percent = draft.amount(250_000), draft.pick((0, 0, 5, 10, 20))
    return {
        "pipeline_id": None if pipeline is None else id_of(draft.seed, "milestone", pipeline),
        "milestone": stages[at],
        "probability": 100 if won else 0 if lost else (at + 1) * 100 // len(stages),
        "expected_value": value,
        "currency_conversion_value": value,
        "apply_discount": percent > 0,
        "discount_type": "Percent",
        "discount_value": float(percent),
        "discount_amt": round(value * percent / 100, 2),
        "total_deal_value": round(value * (100 - percent) / 100, 2),
        "won_date": draft.since(draft.created) if won else 0,
        "lost_reason_id": 1 + draft.below(4) if lost else 0,
        **_tags(draft),
    }


def _tasks(draft: Draft) -> dict[str, Any]:
    status = draft.pick(("YET_TO_START", "IN_PROGRESS", "COMPLETED"))
    done, begun = status == "COMPLETED", draft.since(draft.created) if status != "YET_TO_START" else 0
    return {
        "status": status,
        "is_complete": done,
        "progress": 100 if done else draft.below(20) * 5 if begun else 0,
        "task_start_time": begun,
        "task_completed_time": draft.since(begun) if done else 0,
        "due": {0: _UNSET_DAY, 1: _FAR_DAY}.get(draft.below(25)) or draft.planned(),
    }


def _events(draft: Draft) -> dict[str, Any]:
    start = draft.planned()
    return {"start": start, "end": start + (1 + draft.below(6)) * 1800}


def _campaigns(draft: Draft) -> dict[str, Any]:
    creator = draft.user()
    return {"creatorName": creator["name"], "domainUserId": creator["id"]}


def _tickets(draft: Draft) -> dict[str, Any]:
    existing = draft.counts["contacts"]
    sender = draft.wide(existing or 1)
    draft.links["contacts"] = [sender] if existing else []
    person, agent = person_of(draft.seed, draft.counts, sender), draft.user()
    name, status = f"{person.first} {person.last}", draft.pick(("NEW", "OPEN", "PENDING", "CLOSED"))
    changed = draft.updated or draft.created
    replied = 0 if status == "NEW" else draft.since(draft.created, changed)
    text, group = draft.pick(WORDS["phrases"]), draft.below(len(WORDS["groups"]))
    return {
        "status": status,
        "stringTicketID": str(draft.id),
        "contact": mention(draft, "contacts", sender) if existing else None,
        "requester_name": name,
        "last_requester_name": name,
        "requester_email": person.email,
        "assignee": agent,
        "assigneeID": agent["id"],
        "group": {"id": group, "group_name": WORDS["groups"][group], "group_email": f"group{group}@crm.example"},
        "groupID": group,
        "assigned_time": draft.since(draft.created, changed),
        "first_replied_time": replied,
        "last_agent_replied_time": replied and draft.since(replied, changed),
        "last_customer_replied_time": replied and draft.since(replied, changed),
        "createdOn": _for_people(draft.created),
        "lastUpdatedOn": _for_people(changed),
        "dueOn": _for_people(draft.planned()),
        "closedOn": _for_people(changed) if status == "CLOSED" else "",
        "first_notes_text": text,
        "html_text": f"<p>{text}</p>",
    }


def _for_people(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%d %b %Y %H:%M}"


DETAILS: Final = {
    make.__name__[1:]: make
    for make in (_contacts, _companies, _milestone, _deals, _tasks, _events, _campaigns, _tickets)
}
"""What makes these fields, by resource."""
