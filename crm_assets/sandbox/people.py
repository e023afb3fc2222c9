"""Contacts and companies, and how other records mention them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from crm_assets.sandbox.dice import Dice
from crm_assets.sandbox.draft import NEVER, Draft
from crm_assets.sandbox.ids import id_of
from crm_assets.sandbox.words import CAMPAIGNS, PLACES, ROADS, SOURCES, STEMS, TAGS, TITLES, TRADES, Place


class CompanyFacts(NamedTuple):
    """What a company and the records that mention it agree on."""

    name: str
    domain: str
    place: Place


class PersonFacts(NamedTuple):
    """What a contact and the records that mention it agree on."""

    first: str
    last: str
    email: str
    company: int | None
    place: Place


@lru_cache(maxsize=4096)
def company_facts(seed: int, index: int) -> CompanyFacts:
    """Return the facts about company number `index`."""
    dice = Dice(f"{seed}/company/{index}")
    place, stem, trade = dice.pick(PLACES), dice.pick(STEMS), dice.pick(TRADES)
    again = index // 400 + 1
    name = f"{stem.written} {trade.written}" + (f" {again}" if again > 1 else "")
    domain = f"{stem.plain}-{trade.plain}{again if again > 1 else ''}.example"
    return CompanyFacts(place.company.format(name), domain, place)


def person_facts(seed: int, counts: Mapping[str, int], index: int) -> PersonFacts:
    """Return the facts about contact number `index`."""
    dice = Dice(f"{seed}/person/{index}")
    companies = counts["companies"]
    company = dice.wide(companies) if companies and dice.below(5) else None
    facts = company_facts(seed, company) if company is not None else None
    place = facts.place if facts else dice.pick(PLACES)
    first, last = dice.pick(place.first), dice.pick(place.last)
    domain = facts.domain if facts else "mail.example"
    email = f"{first.plain}.{last.plain}{index // 250 or ''}@{domain}"
    return PersonFacts(first.written, last.written, email, company, place)


def contact(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a contact."""
    person = person_facts(draft.seed, draft.counts, draft.index)
    properties = [
        _system("first_name", person.first),
        _system("last_name", person.last),
        _system("email", person.email, draft.pick(("work", "personal", ""))),
    ]
    properties += [
        _system("phone", f"{person.place.dial} {draft.wide(10_000_000):07}", kind)
        for kind in ("work", "mobile")[: draft.below(3)]
    ]
    company = person.company
    if company is not None:
        properties.append(_system("company", company_facts(draft.seed, company).name))
    if draft.below(3):
        properties.append(_system("title", draft.pick(TITLES)))
    if draft.below(2):
        properties.append(_address(draft, person.place))
    if draft.one_in(3):
        properties.append({"type": "CUSTOM", "name": "Shoe size", "value": 35 + draft.below(12)})
    return {
        **_reachable(draft, "contact_entity", "PERSON", properties),
        "source": draft.pick(SOURCES),
        "contact_company_id": None if company is None else str(id_of(draft.seed, "companies", company)),
        "lead_converted_time": draft.since_or_never(draft.created),
        "is_lead_converted": not draft.one_in(3),
    }


def company(draft: Draft) -> dict[str, Any]:
    """Return what is particular to a company."""
    facts = company_facts(draft.seed, draft.index)
    properties = [
        _system("name", facts.name),
        _system("url", f"https://www.{facts.domain}"),
        _system("email", f"info@{facts.domain}"),
        _address(draft, facts.place),
        {"type": "CUSTOM", "name": "Employees", "value": draft.pick((draft.wide(5000), str(draft.wide(5000))))},
    ]
    properties += [
        _system("phone", f"{facts.place.dial} {draft.wide(10_000_000):07}", kind)
        for kind in ("main", "fax")[: draft.below(3)]
    ]
    return _reachable(draft, "company_entity", "COMPANY", properties)


def mention(draft: Draft, index: int) -> dict[str, Any]:
    """Return contact number `index` as other records mention it."""
    person = person_facts(draft.seed, draft.counts, index)
    return {
        "type": "PERSON",
        "id": draft.id_number("contacts", index),
        "properties": [
            _system("first_name", person.first),
            _system("last_name", person.last),
            _system("email", person.email),
        ],
    }


def mention_in_full(draft: Draft, index: int) -> dict[str, Any]:
    """Return contact number `index` as a document carries it: nearly the whole record."""
    short = mention(draft, index)
    return {**_reachable(draft, "contact_entity", "PERSON", short["properties"]), "id": short["id"]}


def contact_extras(draft: Draft) -> dict[str, Any]:
    """Return fields of a contact that no model declares, now and then."""
    extras: dict[str, Any] = {}
    if draft.one_in(6):
        extras["x_newsletter"] = "yes" if draft.one_in(12) else draft.one_in(2)
    if draft.one_in(8):
        score = draft.below(1000) / 10
        extras["customScore"] = draft.pick((score, score, int(score), str(score), None))
    return extras


def _reachable(draft: Draft, entity: str, kind: str, properties: list[dict[str, Any]]) -> dict[str, Any]:
    if draft.one_in(8):
        draft.pick(properties).pop("type", None)
    tags = [draft.pick(TAGS)] if draft.one_in(2) else []
    updated = draft.updated
    return {
        "type": kind,
        "entity_type": entity,
        "properties": properties,
        "owner": draft.user(),
        "tags": tags,
        "tagsWithTime": [
            {"tag": tag, "createdTime": draft.created * 1000, "availableCount": 1, "entity_type": "tag"} for tag in tags
        ],
        "campaignStatus": [_campaign_status(draft)] if kind == "PERSON" and draft.one_in(4) else [],
        "viewed": {"viewed_time": updated * 1000, "viewer_id": draft.id_number("users", 10 + draft.below(6))},
        "viewed_time": updated,
        "klout_score": "",
        "star_value": draft.below(6),
        "lead_score": draft.below(200),
        "lead_source_id": 0,
        "lead_status_id": 0,
        "formId": 0,
        "last_contacted": draft.since_or_never(draft.created),
        "last_emailed": draft.since_or_never(draft.created),
        "trashed_time": NEVER,
        "restored_time": NEVER,
        "is_lead_converted": False,
        "lead_converted_time": NEVER,
        "is_duplicate_existed": False,
    }


def _campaign_status(draft: Draft) -> dict[str, Any]:
    begun = draft.since(draft.created)
    which = draft.one("campaigns")
    done = draft.one_in(2)
    return {
        "campaign_id": "" if which is None else str(id_of(draft.seed, "campaigns", which)),
        "campaign_name": draft.pick(CAMPAIGNS),
        "start_time": begun * 1000,
        "end_time": draft.since(begun) * 1000 if done else NEVER,
        "status": f"{which}-DONE" if done else f"{which}-ACTIVE",
    }


def _address(draft: Draft, place: Place) -> dict[str, Any]:
    street = f"{draft.pick(ROADS)} {1 + draft.below(200)}"
    town, country = draft.pick(place.towns), place.country
    return _system("address", f'{{"address":"{street}","city":"{town}","country":"{country}"}}', "office")


def _system(name: str, value: str, subtype: str | None = None) -> dict[str, Any]:
    if subtype is None:
        return {"type": "SYSTEM", "name": name, "value": value}
    return {"type": "SYSTEM", "name": name, "subtype": subtype, "value": value}
