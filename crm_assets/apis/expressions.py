"""Expressions in braces, dlt's way to put a value of a parent record or of the incremental cursor into a request."""

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any, cast

from crm_assets.apis.texts import texts_in

EXPANDED = ("path", "params", "json", "data", "headers")
"""The words of an endpoint whose text may hold expressions."""


def expressions_in(value: Any) -> Iterator[str]:
    """Yield the expressions in `value`, a text or anything nested: `resources.contacts.id`.

    Raises:
        ValueError: the braces of a text do not match.
    """
    for text in texts_in(value):
        yield from (field for _, field, _, _ in Formatter().parse(text) if field)


def expressions_of(endpoint: Mapping[str, Any]) -> Iterator[str]:
    """Yield the expressions of all parts of `endpoint` that may hold some."""
    for word in EXPANDED:
        yield from expressions_in(endpoint.get(word))


def parents_of(endpoint: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the resources from whose records a request of `endpoint` is made, each with the fields that it takes."""
    found: dict[str, list[str]] = {}
    for expression in expressions_of(endpoint):
        first, parent, *field = [*expression.split(".", 2), ""]
        if first == "resources":
            found.setdefault(parent, []).append(field[0])
    for value in cast(Mapping[str, Any], endpoint.get("params", {})).values():
        if isinstance(value, Mapping) and value.get("type") == "resolve":
            found.setdefault(str(value.get("resource")), []).append(str(value.get("field")))
    return found


def placeholders_of(endpoint: Mapping[str, Any]) -> dict[str, str]:
    """Return the placeholders in a request of `endpoint` for values of the parent's record, each with its field."""
    found = {}
    for expression in expressions_of(endpoint):
        if expression.startswith("resources."):
            found[expression] = expression.split(".", 2)[2]
    for name, value in cast(Mapping[str, Any], endpoint.get("params", {})).items():
        if isinstance(value, Mapping) and value.get("type") == "resolve":
            found[name] = str(value["field"])
    return found


def escaped(value: Any) -> Any:
    """Return `value` as text that no expression is found in."""
    return value.replace("{", "{{").replace("}", "}}") if isinstance(value, str) else value
