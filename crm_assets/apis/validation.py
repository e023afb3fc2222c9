"""Validate the configuration of an API, whole, before the first request: each fault with its place and its remedy."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from crm_assets.apis import api_config as words
from crm_assets.apis.api_config import ApiConfig, ResourceConfig
from crm_assets.apis.defaults import complete_rows, endpoint_places
from crm_assets.apis.expressions import EXPANDED, expressions_in, expressions_of, parents_of
from crm_assets.errors import ApiConfigError

_CONFIG = TypeAdapter(ApiConfig)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
_NAMES_OF_OURS = ("rejected_records", "resource_loads")

_AUTHS: Mapping[str, Any] = {
    "basic": words.BasicAuth,
    "http_basic": words.BasicAuth,
    "bearer": words.BearerAuth,
    "api_key": words.ApiKeyAuth,
    "oauth2_client_credentials": words.OAuth2ClientCredentials,
}
_PAGINATORS: Mapping[str, Any] = {
    "cursor": words.BodyCursor,
    "header_cursor": words.HeaderCursor,
    "header_link": words.HeaderLink,
    "json_link": words.JsonLink,
    "json_response": words.JsonLink,
    "offset": words.Offset,
    "page_number": words.PageNumber,
    "single_page": words.SinglePage,
    "time_window": words.TimeWindow,
}
_WORDS: Mapping[str, Any] = {
    "": ApiConfig,
    "client": words.Client,
    "columns": words.ColumnHint,
    "endpoint": words.Endpoint,
    "endpoints": words.Endpoint,
    "error_handler": words.PartialErrorHandler,
    "incremental": words.Incremental,
    "processing_steps": words.ProcessingStep,
    "resource_defaults": words.ResourceDefaults,
    "resources": ResourceConfig,
    "response_actions": words.ResponseAction,
}
"""What may stand under each word."""
_INSTEAD: Mapping[str, str] = {
    "file_format": "remove it: listings are loaded as Parquet",
    "max_table_nesting": "remove it: a nested value is one JSON column",
    "merge_key": "remove it: rows are merged on primary_key",
    "nested_hints": "remove it: a nested value is one JSON column",
    "schema_contract": "remove it: what does not fit goes to variant columns, and the check `types` says so",
    "session": "remove it: this project has its own, with time-outs and retries",
    "table_format": "remove it: the destination has one format",
    "table_name": "remove it, and give the resource that name",
}
"""Words of dlt that have no place here, and what to do instead."""
_AUTO = (
    "`auto` is refused: where it guesses wrong it loads the first page as if it were all. Name the paginator, "
    "`single_page` if there is none"
)


def validate(config: Any, origin: str) -> ApiConfig:
    """Return `config` checked, and with its short forms written out.

    Args:
        config: what a file, a module or a component says.
        origin: where that stands, for messages.

    Raises:
        ApiConfigError: names each unknown or impossible entry with its place, one line each.
    """
    try:
        found: ApiConfig = _CONFIG.validate_python(config)
    except ValidationError as error:
        raise _error(origin, [_line(config, detail) for detail in _causes(error)]) from None
    faults = list(_faults(found))
    if faults:
        raise _error(origin, faults)
    return found


def _error(origin: str, lines: Sequence[str]) -> ApiConfigError:
    ended = (line if line.endswith("?") else f"{line}." for line in dict.fromkeys(lines))
    return ApiConfigError("\n".join(f"{origin}: {line}" for line in ended))


def _faults(config: ApiConfig) -> Iterator[str]:
    yield from _auth_faults("client.auth", config["client"].get("auth"))
    yield from _paginator_faults("client.paginator", config["client"].get("paginator"))
    yield from _paginator_faults(
        "resource_defaults.endpoint.paginator",
        config.get("resource_defaults", {}).get("endpoint", {}).get("paginator"),
    )
    rows = complete_rows(config)
    if not rows:
        yield "resources: names no resource"
    for row, written in zip(rows, config["resources"], strict=True):
        place = f"resources.{row['name']}"
        if {"endpoint", "endpoints"} <= written.keys():
            yield f"{place}: has both `endpoint` and `endpoints`; keep one"
        if not row["endpoints"]:
            yield f"{place}.endpoints: names no endpoint"
            continue
        for endpoint, where in zip(row["endpoints"], endpoint_places(row), strict=True):
            yield from _endpoint_faults(f"{place}.{where}", endpoint)
        yield from _row_faults(place, row, [one["name"] for one in rows])
    yield from _circles(rows)


def _circles(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Name resources that are, over one or more others, their own parents."""
    try:
        TopologicalSorter({row["name"]: set(_parents(row)) - {row["name"]} for row in rows}).prepare()
    except CycleError as error:
        yield f"resources: refer to each other in a circle: {', '.join(error.args[1][1:])}"


def _parents(row: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(parent for endpoint in row["endpoints"] for parent in parents_of(endpoint)))


def _row_faults(place: str, row: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    name = row["name"]
    if not _NAME.fullmatch(name):
        yield f"{place}.name: {name!r} cannot be the name of a table; use lower-case letters, digits and underscores"
    elif name in _NAMES_OF_OURS or (name.endswith("_history") and name.removesuffix("_history") in names):
        yield f"{place}.name: the table {name!r} is one of this project's own; choose another name"
    if names.count(name) > 1:
        yield f"{place}.name: {name!r} comes twice"
    if row["write_disposition"] == "merge" and not row.get("primary_key"):
        yield f"{place}.write_disposition: `merge` needs `primary_key`, the fields that tell one record from another"
    if row["write_disposition"] == "replace" and any("incremental" in one for one in row["endpoints"]):
        yield f"{place}.write_disposition: `replace` would remove what is not new; use `merge`"
    if row.get("model") and row["columns"]:
        yield f"{place}.columns: the model declares the columns; remove one of the two"
    parents = _parents(row)
    for parent in [one for one in parents if one not in names]:
        yield f"{place}.endpoint: refers to the resource {parent!r}, which is not there{_hint(parent, names)}"
    if name in parents:
        yield f"{place}.endpoint: refers to itself"
    if len(row["endpoints"]) > 1 and any("incremental" in one for one in row["endpoints"]):
        yield f"{place}.endpoints: `incremental` is for a resource with one endpoint"
    if not row.get("include_from_parent"):
        return
    if not parents:
        yield f"{place}.include_from_parent: has no parent; name one in endpoint.path, {{resources.<parent>.<field>}}"
    elif len(row["endpoints"]) > 1:
        yield f"{place}.include_from_parent: is for a resource with one endpoint; use endpoint.collect_from_parent"


def _endpoint_faults(place: str, endpoint: Mapping[str, Any], *, is_incremental: bool = False) -> Iterator[str]:
    yield from _paginator_faults(f"{place}.paginator", endpoint.get("paginator"))
    yield from _auth_faults(f"{place}.auth", endpoint.get("auth"))
    parents = parents_of(endpoint)
    if len(parents) > 1:
        yield f"{place}: refers to several parents, {', '.join(parents)}; it can have one"
    if endpoint.get("collect_from_parent") and not parents:
        yield f"{place}.collect_from_parent: has no parent; name one in path, {{resources.<parent>.<field>}}"
    if endpoint.get("json") and endpoint.get("data"):
        yield f"{place}: has both `json` and `data`; a request has one body"
    for name, value in endpoint.get("params", {}).items():
        kind = value.get("type") if isinstance(value, Mapping) else "resolve"
        if kind not in ("resolve", "incremental"):
            yield f"{place}.params.{name}.type: {kind!r} is neither `resolve` nor `incremental`"
    for word in EXPANDED:
        faults = _expression_faults(endpoint, word, is_incremental=is_incremental or "incremental" in endpoint)
        yield from (f"{place}.{word}: {problem}" for problem in faults)
    if is_incremental and "incremental" in endpoint:
        yield f"{place}.incremental: is that of the endpoint for the whole listing; remove it here"
        return
    yield from _incremental_faults(place, endpoint)


def _incremental_faults(place: str, endpoint: Mapping[str, Any]) -> Iterator[str]:
    for name, value in endpoint.get("params", {}).items():
        if isinstance(value, Mapping) and value.get("type") == "incremental":
            part = {word: one for word, one in value.items() if word != "type"}
            yield from _part_faults(f"{place}.params.{name}", words.Incremental, part)
    incremental = endpoint.get("incremental")
    if incremental is None:
        return
    if not all(field.isidentifier() for field in words.cursor_fields(incremental)):
        yield f"{place}.incremental.cursor_path: must be a field of the record itself, not of a part of it"
    for number, newer in enumerate(incremental.get("endpoints", [])):
        yield from _endpoint_faults(f"{place}.incremental.endpoints.{number}", newer, is_incremental=True)
        if not any(one.startswith("incremental.") for one in expressions_of(newer)):
            where = f"{place}.incremental.endpoints.{number}"
            yield f"{where}: does not ask for what is newer; use {{incremental.start_value}}"
    if "endpoints" in incremental:
        return
    asked = any(one.startswith("incremental.") for one in expressions_of(endpoint))
    if "start_param" not in incremental and not asked:
        yield f"{place}.incremental: nothing asks for what is newer; name the parameter in `start_param`"
    if asked and incremental.get("initial_value") is None:
        yield f"{place}.incremental.initial_value: is missing; the first listing begins with it"


def _expression_faults(endpoint: Mapping[str, Any], word: str, *, is_incremental: bool) -> Iterator[str]:
    for expression in expressions_in(endpoint.get(word)):
        if problem := _expression_problem(expression, endpoint, is_incremental=is_incremental):
            yield f"{{{expression}}} {problem}"


def _expression_problem(expression: str, endpoint: Mapping[str, Any], *, is_incremental: bool) -> str | None:
    first, *rest = expression.split(".")
    if first == "resources":
        return None if len(rest) >= 2 else "must be {resources.<parent>.<field>}"
    if first == "incremental":
        if not is_incremental:
            return "needs `incremental` in the endpoint"
        values = ("start_value", "initial_value", "last_value", "end_value")
        return None if rest and rest[0] in values else f"must be one of {', '.join(values)}"
    if expression in endpoint.get("params", {}):
        return None
    return "means nothing here; write {resources.<parent>.<field>} or {incremental.start_value}, and {{ }} for braces"


def _paginator_faults(place: str, paginator: Any) -> Iterator[str]:
    if paginator is None or not isinstance(paginator, str | Mapping):
        if paginator is not None and not _is_of_dlt(paginator, "BasePaginator"):
            yield f"{place}: must be one of {', '.join(_PAGINATORS)}, or a paginator of dlt"
        return
    if isinstance(paginator, str):
        if paginator == "auto":
            yield f"{place}: {_AUTO}"
        elif paginator not in _PAGINATORS:
            yield f"{place}: {paginator!r} is not a paginator{_hint(paginator, _PAGINATORS)}"
        elif paginator in ("cursor", "offset", "time_window"):
            yield f"{place}: `{paginator}` needs more than its name; write {{type: {paginator}, ...}}"
        return
    kind = paginator.get("type", "auto")
    if kind == "auto":
        yield f"{place}.type: {_AUTO}"
    elif kind not in _PAGINATORS:
        yield f"{place}.type: {kind!r} is not a paginator{_hint(str(kind), _PAGINATORS)}"
    else:
        is_guides = words.is_last_record_cursor(paginator)
        yield from _part_faults(place, words.LastRecordCursor if is_guides else _PAGINATORS[kind], paginator)
        yield from _cursor_faults(place, paginator) if is_guides else _range_faults(place, paginator)


def _cursor_faults(place: str, paginator: Mapping[str, Any]) -> Iterator[str]:
    """Name what the cursor of the last record lacks, or has twice."""
    yield from _both(place, paginator, ("cursor_param", "cursor_body_path"), ("limit_param", "limit_body_path"))
    if "cursor_param" not in paginator and "cursor_body_path" not in paginator:
        yield f"{place}.cursor_param: is missing"


def _both(place: str, paginator: Mapping[str, Any], *pairs: tuple[str, str]) -> Iterator[str]:
    for one, other in pairs:
        if paginator.get(one) and paginator.get(other):
            yield f"{place}: has both `{one}` and `{other}`; keep one"


def _range_faults(place: str, paginator: Mapping[str, Any]) -> Iterator[str]:
    """Name what dlt's paginators of numbers would refuse."""
    if paginator["type"] not in ("offset", "page_number"):
        return
    yield from _both(
        place,
        paginator,
        ("page_param", "page_body_path"),
        ("offset_param", "offset_body_path"),
        ("limit_param", "limit_body_path"),
    )
    ends = ("maximum_page", "maximum_offset", "has_more_path")
    has_total = paginator.get("total_path", "total") is not None
    if (
        not has_total
        and not any(paginator.get(end) for end in ends)
        and paginator.get("stop_after_empty_page") is False
    ):
        yield f"{place}: nothing ends it; give `total_path` or `has_more_path`, or let it stop after an empty page"


def _auth_faults(place: str, auth: Any) -> Iterator[str]:
    if auth is None or not isinstance(auth, str | Mapping):
        if auth is not None and not callable(auth):
            yield f"{place}: must be one of {', '.join(_AUTHS)} with its login, or an auth of dlt or requests"
        return
    if isinstance(auth, str):
        yield f"{place}: write {{type: {auth}, ...}} with the login, such as dlt.secrets[...]"
        return
    kind = auth.get("type", "bearer")
    if kind not in _AUTHS:
        yield f"{place}.type: {kind!r} is not an auth{_hint(str(kind), _AUTHS)}"
    else:
        yield from _part_faults(place, _AUTHS[kind], auth)


def _is_of_dlt(value: Any, base: str) -> bool:
    return any(one.__name__ == base for one in type(value).__mro__)


def _part_faults(place: str, kind: Any, value: Mapping[str, Any]) -> Iterator[str]:
    try:
        TypeAdapter(kind).validate_python(dict(value))
    except ValidationError as error:
        for detail in _causes(error):
            where = ".".join([place, *map(str, detail["loc"])])
            known = kind.__annotations__ if detail["type"] == "extra_forbidden" else ()
            yield f"{where}: {_problem(detail, known)}"


def _causes(error: ValidationError) -> Iterator[ErrorDetails]:
    """Yield the faults, without those words that are missing because they are mistyped beside."""
    details = error.errors()
    mistyped = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    for detail in details:
        *place, word = detail["loc"] or ("",)
        beside = [str(loc[-1]) for loc in mistyped if list(loc[:-1]) == place]
        if detail["type"] != "missing" or not get_close_matches(str(word), beside, n=1, cutoff=0.6):
            yield detail


def _line(config: Any, detail: ErrorDetails) -> str:
    parts = [str(part) for part in detail["loc"]]
    holder = parts[:-1]
    if len(parts) > 1 and parts[0] == "resources":
        parts[1] = _name_of(config, int(parts[1]))
    under = [part for part in holder if part in _WORDS]
    known = _WORDS[under[-1] if under else ""].__annotations__ if detail["type"] == "extra_forbidden" else ()
    return f"{'.'.join(parts) or 'the configuration'}: {_problem(detail, known)}"


def _name_of(config: Any, index: int) -> str:
    row = config["resources"][index]
    name = row.get("name") if isinstance(row, Mapping) else None
    return name if isinstance(name, str) else str(index)


def _problem(detail: ErrorDetails, known: Collection[str]) -> str:
    word = str(detail["loc"][-1]) if detail["loc"] else ""
    match detail["type"]:
        case "extra_forbidden":
            if word in _INSTEAD:
                return _INSTEAD[word]
            return f"unknown word{_hint(word, known)}"
        case "missing":
            return "is missing"
        case "literal_error":
            expected = detail.get("ctx", {}).get("expected", "")
            return f"must be {expected}, not {detail['input']!r}"
        case _:
            said = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            must = said if detail["type"] == "value_error" else f"must be {said}"
            return f"{must} (got {_shown(detail['input'])})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _hint(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
