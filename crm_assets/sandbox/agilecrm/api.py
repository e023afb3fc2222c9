"""The API itself: from a request to its answer."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final
from zlib import crc32

from crm_assets.sandbox.agilecrm.answers import failed, listed, mark, nothing
from crm_assets.sandbox.agilecrm.cursors import read_cursor, write_cursor
from crm_assets.sandbox.agilecrm.dynamic_filter import RESOURCES
from crm_assets.sandbox.agilecrm.relations import CHILDREN, Relations
from crm_assets.sandbox.agilecrm.routes import DYNAMIC_FILTER, ROUTES, Params, Rejected, Route, filtered_resource
from crm_assets.sandbox.agilecrm.selections import Key, Selection, Selections
from crm_assets.sandbox.api import FORM, Answer, Call, Request, Withheld
from crm_assets.sandbox.crm import BadCursor, SandboxCrm
from crm_assets.sandbox.pages import MOST_KEPT

DEFAULT_CUT: Final = 60.0
"""Seconds after which the CRM cuts a request off."""
PAGE_SIZE: Final = 100
"""Records per page unless the request says otherwise."""
MOST_PER_PAGE: Final = 5000
"""A larger page is not ready before the request is cut off."""
_PREFIX: Final = "/dev/api/"
_BODY_CUT: Final = ("half_json", "cut_off")


class AgileCrm:
    """Answers requests of `agilecrm` with the records of `crm`; cuts those off that take `cut` seconds.

    Attributes:
        relations: below which contacts, deals and ticket filters the records are found.
    """

    def __init__(self, crm: SandboxCrm, cut: float = DEFAULT_CUT) -> None:
        self._crm, self._cut = crm, cut
        self.relations = Relations(crm)
        self._selections = Selections(crm, self.relations)
        self._kept = lru_cache(MOST_KEPT)(self._answered)  # pages: a client is to be measured, not the sandbox

    def call(self, request: Request) -> Call | Answer | None:
        """Return what `request` is, or its answer if it is for no resource; None if it is none of `agilecrm`."""
        if not request.path.startswith(_PREFIX):
            return None
        for route in ROUTES:
            if (parent := route.parent_in(request.path)) is not None:
                return self._call(route, parent, request)
        return failed(404, "Not Found")

    def refused_login(self) -> Answer:
        """Return the answer to a wrong login."""
        return failed(401, "Unauthorized", WWW_Authenticate='Basic realm="agilecrm"')

    def endpoints(self) -> Mapping[str, list[str]]:
        """Return the requests that list each resource."""
        found: dict[str, list[str]] = defaultdict(list)
        for route in ROUTES:
            for resource in RESOURCES.values() if route is DYNAMIC_FILTER else (route.resource,):
                found[resource].append(f"{route.method} {route.path.replace('{parent}', '{id}')}")
        return found

    def example(self, curl: str, base_url: str) -> str:
        """Return a command that asks for two contacts, from one that logs in."""
        return f"{curl} -H 'Accept: application/json' '{base_url}{_PREFIX}contacts?page_size=2'"

    def reachable(self, resource: str) -> Iterator[Any]:
        """Return the records of `resource` that the API delivers as they stand now, without `cursor` and `count`."""
        if resource in CHILDREN:
            selection = Selection(*self.relations.reachable(resource))
        elif resource == "events":
            selection = self._selections.dated_events()
        else:
            selection = self._selections.all(resource)
        records = [selection.snapshot.record(position) for position in selection.positions]
        mark(records, "none", None, None)
        return iter(records)

    def _call(self, route: Route, parent: str, request: Request) -> Call:
        params = request.form if route.method == "POST" else request.query
        resource = filtered_resource(params) if route is DYNAMIC_FILTER else route.resource
        of = parent or params.get(route.parent_param or "") or None
        return Call(resource, partial(self._answer, route, parent, request), of, self._cut)

    def _answer(self, route: Route, parent: str, request: Request, fault: str | None) -> Answer:
        if request.method != route.method:
            return failed(405, "Method Not Allowed", Allow=route.method)
        if route.method == "POST" and request.headers.get("Content-Type", FORM).partition(";")[0].strip() != FORM:
            return failed(415, "Unsupported Media Type")
        params = request.form if route.method == "POST" else request.query
        version = sum(map(self._crm.version, self._crm.world.counts))
        as_json = "json" in request.headers.get("Accept", "").lower()
        answered = self._kept if route.is_paged else self._answered
        try:
            return answered(route, parent, tuple(sorted(params.items())), version, as_json=as_json, fault=fault)
        except Rejected as error:
            return failed(error.status, str(error))
        except BadCursor:
            if crc32(params["cursor"].encode()) % 2:
                raise Withheld from None
            return failed(500, "Internal Server Error")

    def _answered(
        self, route: Route, parent: str, said: tuple[tuple[str, str], ...], _: int, *, as_json: bool, fault: str | None
    ) -> Answer:
        params = dict(said)
        size = self._page_size(params) if route.is_paged else None
        selection = route.select(self._selections, params, parent)
        scope = self._scope(route, params)
        cursor = params.get("cursor") if route.is_paged and selection.has_cursors else None
        start = read_cursor(scope, cursor) if cursor else None
        positions, following = selection.slice(start, len(selection.positions) if size is None else size)
        if fault == "null_data":
            return listed(None, as_json=as_json)
        records = [selection.snapshot.record(position) for position in positions]
        if not records and fault not in _BODY_CUT:
            return nothing()
        key = _spoiled(fault, selection, following if selection.has_cursors else None)
        count = len(selection.positions) if start is None else None
        mark(records, route.marks, count, key and write_cursor(scope, key))
        is_bare = route.resource == "campaigns" and len(records) == 1
        return listed(records[0] if is_bare else records, as_json=as_json)

    def _scope(self, route: Route, params: Params) -> str:
        """Return which list a cursor belongs to: whatever else a request says must be said again with it."""
        said = sorted((name, value) for name, value in params.items() if name not in ("cursor", "page_size"))
        return f"{self._crm.world.seed} {route.path} {said}"

    def _page_size(self, params: Params) -> int:
        asked = params.get("page_size", str(PAGE_SIZE))
        size = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        if size < 1:
            raise Rejected(400, "page_size is not a number from 1")
        if size > MOST_PER_PAGE:
            raise Withheld(self._cut)
        return size


def _spoiled(fault: str | None, selection: Selection, following: Key | None) -> Key | None:
    """Return where the cursor of a page leads."""
    if fault == "repeat_cursor":
        return selection.key(selection.positions[0])
    if fault == "extra_cursor" and following is None:
        last_rank, last = selection.key(selection.positions[-1])
        return last_rank, last + 1
    return following
