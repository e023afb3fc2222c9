"""How the API writes its answers: bare arrays, XML for whoever does not ask for JSON, errors as HTML."""

import re
from html import escape
from typing import Any, Final

import orjson

from crm_assets.sandbox.agilecrm.routes import Marks
from crm_assets.sandbox.api import OK, Answer

_NO_CONTENT: Final = 204
_JSON: Final = "application/json;charset=UTF-8"
_XML: Final = "application/xml"
_HTML: Final = "text/html;charset=UTF-8"
_OWN: Final = ("cursor", "count")
"""Fields that belong to the list, whatever a record says."""


def mark(records: list[Any], marks: Marks, count: int | None, cursor: str | None) -> None:
    """Write into `records` what belongs to the list.

    Args:
        records: one page.
        marks: which habit the list has.
        count: how many records the list has; None on all pages but the first.
        cursor: of the next page, if there is one.
    """
    fields = [record for record in records if isinstance(record, dict)]
    for record in fields:
        for name in _OWN:
            record.pop(name, None)
        if marks in ("empty_cursor", "empty_count"):
            record[marks.removeprefix("empty_")] = ""
    if marks == "count" and count is not None and fields:
        fields[0]["count"] = count
    if cursor is not None and fields:
        fields[-1]["cursor"] = cursor


def listed(records: Any, *, as_json: bool) -> Answer:
    """Return a list, or a bare record, as JSON or as XML."""
    if as_json:
        return Answer(OK, orjson.dumps(records), _JSON)
    return Answer(OK, f'<?xml version="1.0" encoding="UTF-8"?>{_xml("collection", records)}'.encode(), _XML)


def nothing() -> Answer:
    """Return an empty list."""
    return Answer(_NO_CONTENT, b"")


def failed(status: int, why: str, **headers: str) -> Answer:
    """Return an error page."""
    said = escape(f"{status} {why}")
    page = f"<html><head><title>Error {status}</title></head><body><h1>Error: {said}</h1></body></html>"
    return Answer(status, page.encode(), _HTML, {name.replace("_", "-"): value for name, value in headers.items()})


def _xml(name: str, value: Any) -> str:
    tag = re.sub(r"\W", "_", name)
    match value:
        case dict():
            inner = "".join(_xml(key, part) for key, part in value.items())
        case list():
            inner = "".join(_xml("item", part) for part in value)
        case _:
            inner = "" if value is None else escape(str(value))
    return f"<{tag}>{inner}</{tag}>"
