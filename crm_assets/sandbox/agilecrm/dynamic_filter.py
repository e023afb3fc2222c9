"""What the dynamic filter is asked for, `filterJson`, and which records that finds."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

RESOURCES: Final = {"PERSON": "contacts", "COMPANY": "companies", "OPPORTUNITY": "deals"}
"""The resource of each `contact_type`."""
_DAY: Final = 86_400_000


class BadFilter(ValueError):
    """A `filterJson` that cannot be."""


class Times(NamedTuple):
    """When a record was created and last updated, in epoch milliseconds; 0 for never."""

    created_time: int
    updated_time: int


class Rule(NamedTuple):
    """The field is not before a midnight (UTC), in epoch milliseconds."""

    field: str
    midnight: int

    def matches(self, times: Times) -> bool:
        """Return whether a record with these times is found; one that was never updated is not by that time."""
        time = times.updated_time if self.field == "updated_time" else times.created_time
        return bool(time) and time >= self.midnight


class DynamicFilter(NamedTuple):
    """A whole filter: every one of `rules` must match, and any of `or_rules` if there are any."""

    resource: str
    rules: tuple[Rule, ...]
    or_rules: tuple[Rule, ...]

    def matches(self, times: Times) -> bool:
        """Return whether a record with these times is found."""
        either = not self.or_rules or any(rule.matches(times) for rule in self.or_rules)
        return either and all(rule.matches(times) for rule in self.rules)


def parse(text: str | None) -> DynamicFilter:
    """Read a `filterJson`.

    Raises:
        BadFilter: it is missing, or not one.
    """
    try:
        said = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        raise BadFilter("filterJson is not JSON") from None
    if not isinstance(said, dict):
        raise BadFilter("filterJson is not an object")
    if said.get("contact_type") not in list(RESOURCES):
        raise BadFilter(f"contact_type is none of {', '.join(RESOURCES)}")
    return DynamicFilter(RESOURCES[said["contact_type"]], _rules(said, "rules"), _rules(said, "or_rules"))


def _rules(said: Mapping[str, Any], name: str) -> tuple[Rule, ...]:
    rules = said.get(name, [])
    if not isinstance(rules, list):
        raise BadFilter(f"{name} is not a list")
    return tuple(map(_rule, rules))


def _rule(said: Any) -> Rule:
    if not isinstance(said, dict) or said.get("LHS") not in list(Times._fields) or said.get("CONDITION") != "AFTER":
        raise BadFilter("a rule is not created_time or updated_time AFTER a time")
    try:
        moment = int(said["RHS"])
    except (KeyError, OverflowError, TypeError, ValueError):
        raise BadFilter("RHS is not a time in milliseconds") from None
    return Rule(said["LHS"], -(-moment // _DAY) * _DAY)  # old servers compare days: up to the next midnight
