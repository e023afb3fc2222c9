"""The requests of the API, one row each: what it is for, which records it is answered with, and how."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal
from urllib.parse import unquote

from crm_assets.sandbox.agilecrm.dynamic_filter import BadFilter, parse
from crm_assets.sandbox.agilecrm.selections import Selection, Selections

Params = Mapping[str, str]
Marks = Literal["none", "count", "empty_count", "empty_cursor"]
"""What the records of a list carry beside the cursor: nothing, their number on the first one, or empty texts on all."""

_STATUSES: Final = ("YET_TO_START", "IN_PROGRESS", "COMPLETED")
_UNSORTABLE: Final = "-updated_time"


class Rejected(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Route:
    """One request.

    Attributes:
        method: of HTTP.
        path: its path; `{parent}` stands for an identifier.
        resource: whose records it lists.
        select: finds them, from what the request says and the identifier in its path. Raises `Rejected`.
        marks: what they carry.
        is_paged: whether it takes `page_size` and `cursor`.
        parent_param: the parameter that holds the identifier of the parent, if the path does not.
    """

    method: str
    path: str
    resource: str
    select: Callable[[Selections, Params, str], Selection]
    marks: Marks = "none"
    is_paged: bool = False
    parent_param: str | None = None

    def parent_in(self, path: str) -> str | None:
        """Return what `path` has where this one says `{parent}`, "" if it says so nowhere; None for another path."""
        match = _pattern(self.path).fullmatch(path)
        return match and unquote(match.groupdict().get("parent", ""))


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{parent\}", "(?P<parent>[^/]+)"))


def _all(resource: str) -> Callable[[Selections, Params, str], Selection]:
    return lambda selections, _, __: selections.all(resource)


def _below(resource: str, parent: str) -> Callable[[Selections, Params, str], Selection]:
    return lambda selections, _, parent_id: selections.children(resource, parent, parent_id)


def _companies(selections: Selections, params: Params, _: str) -> Selection:
    return selections.changed("companies", _sort_key(params))


def _pending_tasks(selections: Selections, _: Params, __: str) -> Selection:
    return selections.pending_tasks()


def _tasks(selections: Selections, params: Params, _: str) -> Selection:
    if params.get("criteria") != "STATUS" or params.get("type") not in _STATUSES:
        raise Rejected(400, f"criteria=STATUS needs a type: {', '.join(_STATUSES)}")
    return selections.tasks(params["type"])


def _events(selections: Selections, params: Params, _: str) -> Selection:
    try:
        return selections.events(int(params["start"]), int(params["end"]))
    except (KeyError, ValueError):
        raise Rejected(400, "start and end are needed, in epoch seconds") from None


def _tickets(selections: Selections, params: Params, _: str) -> Selection:
    if not params.get("filter_id"):
        raise Rejected(400, "filter_id is needed")
    return selections.tickets(params["filter_id"], params.get("global_sort_key"))


def _changed(selections: Selections, params: Params, _: str) -> Selection:
    try:
        wanted = parse(params.get("filterJson"))
    except BadFilter as error:
        raise Rejected(400, str(error)) from None
    return selections.changed(wanted.resource, _sort_key(params), wanted)


def _sort_key(params: Params) -> str | None:
    key = params.get("global_sort_key")
    if key == _UNSORTABLE:
        raise Rejected(500, f"{key} is no index")
    return key


def filtered_resource(params: Params) -> str:
    """Return which resource a request of the dynamic filter is for; contacts if it does not say."""
    try:
        return parse(params.get("filterJson")).resource
    except BadFilter:
        return "contacts"


DYNAMIC_FILTER: Final = Route(
    "POST", "/dev/api/filters/filter/dynamic-filter", "contacts", _changed, "count", is_paged=True
)
ROUTES: Final = (
    Route("GET", "/dev/api/contacts", "contacts", _all("contacts"), "empty_cursor", is_paged=True),
    Route("POST", "/dev/api/contacts/companies/list", "companies", _companies, "count", is_paged=True),
    Route("GET", "/dev/api/opportunity", "deals", _all("deals"), "empty_count", is_paged=True),
    Route("GET", "/dev/api/contacts/{parent}/notes", "notes", _below("notes", "contacts"), "empty_cursor"),
    Route("GET", "/dev/api/opportunity/{parent}/notes", "notes", _below("notes", "deals"), "count"),
    Route("GET", "/dev/api/tasks", "tasks", _pending_tasks, "empty_count"),
    Route("GET", "/dev/api/tasks/based", "tasks", _tasks, "count", is_paged=True),
    Route("GET", "/dev/api/events", "events", _events, "empty_cursor"),
    Route("GET", "/dev/api/milestone/pipelines", "milestone", _all("milestone")),
    Route("GET", "/dev/api/workflows", "campaigns", _all("campaigns"), "count", is_paged=True),
    Route(
        "GET", "/dev/api/documents/contact/{parent}/docs", "documents", _below("documents", "contacts"), "empty_count"
    ),
    Route("GET", "/dev/api/tickets/filters", "ticket_filters", _all("ticket_filters"), "empty_cursor"),
    Route("GET", "/dev/api/tickets/filter", "tickets", _tickets, is_paged=True, parent_param="filter_id"),
    DYNAMIC_FILTER,
)
