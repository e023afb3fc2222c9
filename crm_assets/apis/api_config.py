"""The vocabulary of an API's configuration: dlt's `rest_api`, the words of the CRM's configuration guide, and ours.

The guide adds `auth.type: basic`, the paginator with `limit` and `stop_condition`, and `error_handler`; this project
adds `model` and `cadence`. What dlt has beyond these words, `validation.py` names with what to do instead.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from crm_assets.apis.expressions import expressions_in

_STRICT = ConfigDict(extra="forbid", strict=True)
_KEYS = re.compile(r"\w+(\.\w+)*")
_FUNCTION = re.compile(r"[\w./-]+:[\w.]+")
_STOP_CONDITION = re.compile(r"not last_record\.get\((['\"])(?P<field>\w+)\1\)")

Cadence = Literal["frequent", "daily"]
"""How often a resource is to be loaded; the settings `automation.<cadence>_cron` say when that is."""
CADENCES: tuple[Cadence, ...] = get_args(Cadence)

WriteDisposition = Literal["merge", "append", "replace"]
"""What a load does with the rows that a table has: dlt's words."""
DataTypeName = Literal["bigint", "text", "bool", "double", "timestamp", "json"]
"""The column types of dlt that a table can have here."""


def stop_field(condition: str) -> str:
    """Return the field of the last record that carries the cursor, as a `stop_condition` says.

    Raises:
        ValueError: it says something else.
    """
    if not (said := _STOP_CONDITION.fullmatch(condition.strip())):
        raise ValueError("must be `not last_record.get('<field>')`, with the field that carries the cursor")
    return said["field"]


def is_last_record_cursor(paginator: Any) -> bool:
    """Return whether `paginator` is the guide's cursor, told from dlt's by the words that dlt does not know."""
    return (
        isinstance(paginator, Mapping)
        and paginator.get("type") == "cursor"
        and not paginator.keys().isdisjoint({"limit", "stop_condition"})
    )


def cursor_fields(incremental: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that grow with each change."""
    path = incremental["cursor_path"]
    return (path,) if isinstance(path, str) else tuple(path)


def _json_path(value: str) -> str:
    if _KEYS.fullmatch(value):
        return value
    from dlt.common import jsonpath  # it takes a while, and most selectors are keys

    try:
        jsonpath.compile_path(value)
    except Exception as error:
        raise ValueError(f"is not a JSONPath such as data.items: {error}") from None
    return value


def _stop_condition(value: str) -> str:
    stop_field(value)
    return value


def _function(value: Any) -> Any:
    if callable(value) or (isinstance(value, str) and _FUNCTION.fullmatch(value)):
        return value
    raise ValueError("must be a function, or where it is: `module:function`")


def _action(value: Any) -> Any:
    for one in value if isinstance(value, list) and value else [value]:
        if one != "ignore":
            try:
                _function(one)
            except ValueError:
                raise ValueError("must be `ignore`, or a function, or where one is: `module:function`") from None
    return value


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(one, str) and one for one in names):
        raise ValueError("must be the name of a field, or a list of names")
    return tuple(names)


def _disposition(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if value.get("strategy") == "scd2":
        raise ValueError("has the strategy scd2; write `merge`, and set sync.history for this resource")
    return value.get("disposition")


def _path_only(value: Any) -> Any:
    """Take a text in the place of an endpoint for its path."""
    return {"path": value} if isinstance(value, str) else value


def _cursor_path(value: Any) -> Any:
    return _json_path(value) if isinstance(value, str) else _names(value)


def _name_only(value: Any) -> Any:
    """Take a text in the place of a resource for its name, which is its path too."""
    return {"name": value} if isinstance(value, str) else value


def _action_only(value: Any) -> Any:
    """Take a function in the place of a response action for one that sees every response."""
    return {"action": value} if callable(value) else value


def _expandable(value: Any) -> Any:
    try:
        list(expressions_in(value))
    except ValueError as error:
        raise ValueError(f"has braces that do not match ({error}); double those that are meant") from None
    return value


Positive = Annotated[int, Field(ge=1)]
JsonPath = Annotated[str, AfterValidator(_json_path)]
"""Where something is in a body, as dlt takes it: `data`, `data.items`, `$.results[*]`."""
Function = Annotated[Any, AfterValidator(_function)]
"""A Python function, or where it is: `module:function`."""
Status = Annotated[int, Field(ge=400, le=599)]


@with_config(_STRICT)
class LastRecordCursor(TypedDict, total=False):
    """The guide's cursor: the last record of each page carries the cursor of the next one. Told by its `limit`.

    Both go into the query, or as `cursor_body_path` and `limit_body_path` into the body: a form, or JSON. Where a full
    page without a cursor may not be the last one, it is requested again with twice the limit, up to `maximum_limit`.
    """

    type: Required[Literal["cursor"]]
    limit: Required[Positive]
    limit_param: str
    limit_body_path: str
    maximum_limit: Positive
    cursor_param: str
    cursor_body_path: str
    stop_condition: Annotated[str, AfterValidator(_stop_condition)]


@with_config(_STRICT)
class BodyCursor(TypedDict, total=False):
    """dlt's cursor: the body of each page carries the cursor of the next one, at `cursor_path`."""

    type: Literal["cursor"]
    cursor_path: JsonPath
    cursor_param: str
    cursor_body_path: str
    stop_after_empty_page: bool
    has_more_path: JsonPath


@with_config(_STRICT)
class HeaderCursor(TypedDict, total=False):
    """A header of each response, `cursor_key`, carries the cursor of the next page."""

    type: Literal["header_cursor"]
    cursor_key: str
    cursor_param: str


@with_config(_STRICT)
class JsonLink(TypedDict, total=False):
    """The body of each page carries the address of the next one, at `next_url_path`."""

    type: Literal["json_link", "json_response"]
    next_url_path: JsonPath


@with_config(_STRICT)
class HeaderLink(TypedDict, total=False):
    """The header `Link` of each response carries the address of the next page."""

    type: Literal["header_link"]
    links_next_key: str


@with_config(_STRICT)
class Offset(TypedDict, total=False):
    """Each request says how many records to leave out, and how many to give."""

    type: Literal["offset"]
    limit: Required[Positive]
    offset: int
    offset_param: str | None
    offset_body_path: str
    limit_param: str | None
    limit_body_path: str
    total_path: JsonPath | None
    maximum_offset: int
    stop_after_empty_page: bool
    has_more_path: JsonPath


@with_config(_STRICT)
class PageNumber(TypedDict, total=False):
    """Each request says the number of the page."""

    type: Literal["page_number"]
    base_page: int
    page: int
    page_param: str | None
    page_body_path: str
    total_path: JsonPath | None
    maximum_page: int
    stop_after_empty_page: bool
    has_more_path: JsonPath


@with_config(_STRICT)
class TimeWindow(TypedDict, total=False):
    """Each request asks for a window of time, in epoch seconds, from `start` to now; the last one for what is to come.

    A record that reaches into two windows comes twice, and is one row.
    """

    type: Required[Literal["time_window"]]
    start: Required[Any]
    span_days: Required[Any]
    start_param: str
    end_param: str


@with_config(_STRICT)
class SinglePage(TypedDict):
    """The whole listing in one response."""

    type: Literal["single_page"]


@with_config(_STRICT)
class BasicAuth(TypedDict):
    """User name and password."""

    type: Literal["basic", "http_basic"]
    username: str
    password: str


@with_config(_STRICT)
class BearerAuth(TypedDict):
    """A token in the header `Authorization`."""

    type: NotRequired[Literal["bearer"]]
    token: str


@with_config(_STRICT)
class ApiKeyAuth(TypedDict):
    """A key under a name of the API's own. Default: the header `Authorization`."""

    type: Literal["api_key"]
    api_key: str
    name: NotRequired[str]
    location: NotRequired[Literal["header", "query", "param", "cookie"]]


@with_config(_STRICT)
class OAuth2ClientCredentials(TypedDict):
    """A token that is asked for with a client's id and secret, and again when it has expired."""

    type: Literal["oauth2_client_credentials"]
    access_token_url: str
    client_id: str
    client_secret: str
    access_token_request_data: NotRequired[dict[str, Any]]
    default_token_expiration: NotRequired[Positive]


@with_config(_STRICT)
class ErrorHandler(TypedDict):
    """Which responses are retried, how often, and after `backoff_factor * 2**(n - 1)` seconds.

    Lost connections and bodies without a list are retried too. Up to half a factor is added at random.
    """

    retry_on_status_codes: list[Status]
    max_retries: Annotated[int, Field(ge=0, le=20)]
    backoff_factor: Annotated[float, Field(ge=0, strict=False)]


@with_config(_STRICT)
class PartialErrorHandler(TypedDict, total=False):
    """An error handler as it is written: what it leaves out is as the guide says."""

    retry_on_status_codes: list[Status]
    max_retries: Annotated[int, Field(ge=0, le=20)]
    backoff_factor: Annotated[float, Field(ge=0, strict=False)]


@with_config(_STRICT)
class ResponseAction(TypedDict, total=False):
    """What is done with a response of this status, or with this text in it: `ignore` ends the listing there."""

    status_code: int
    content: str
    action: Required[Annotated[Any, AfterValidator(_action)]]


@with_config(_STRICT)
class Incremental(TypedDict, total=False):
    """The field that grows with each change, or several of them, and the parameter that asks for what is newer.

    Where other endpoints than that of the whole listing say what is newer, they are `endpoints`; the whole listing is
    what is left when one of them answers with an error.
    """

    cursor_path: Required[Annotated[Any, AfterValidator(_cursor_path)]]
    initial_value: Any
    end_value: Any
    start_param: str
    end_param: str
    convert: Function
    lag: Annotated[float, Field(ge=0, strict=False)]
    endpoints: "list[Annotated[Endpoint, BeforeValidator(_path_only)]]"


@with_config(_STRICT)
class ProcessingStep(TypedDict, total=False):
    """What happens to each record before it is a row, one function of: filter, map, yield_map."""

    filter: Function
    map: Function
    yield_map: Function


@with_config(_STRICT)
class ColumnHint(TypedDict):
    """What is declared of a column where there is no model."""

    data_type: DataTypeName
    name: NotRequired[str]
    nullable: NotRequired[bool]
    description: NotRequired[str]


@with_config(_STRICT)
class Endpoint(TypedDict, total=False):
    """One endpoint: what is requested, where the records are in the response, how it pages, how it is retried.

    Text may hold `{resources.<parent>.<field>}` and `{incremental.start_value}`.
    """

    path: Annotated[str, AfterValidator(_expandable)]
    method: Literal["GET", "POST", "get", "post"]
    params: Annotated[dict[str, Any], AfterValidator(_expandable)]
    json: Annotated[dict[str, Any], AfterValidator(_expandable)]
    data: Annotated[Any, AfterValidator(_expandable)]
    headers: Annotated[dict[str, str], AfterValidator(_expandable)]
    paginator: Any
    data_selector: JsonPath | None
    response_actions: list[Annotated[ResponseAction, BeforeValidator(_action_only)]]
    incremental: Incremental
    collect_from_parent: dict[str, str]
    """Fields that become a list: of the values that a field of each parent has which lists the record."""
    total_field: str
    """The field of a page's first record that says how many records there are."""
    auth: Any
    error_handler: PartialErrorHandler


@with_config(_STRICT)
class ResourceDefaults(TypedDict, total=False):
    """What holds for every resource that does not say otherwise."""

    primary_key: Annotated[Any, AfterValidator(_names)]
    write_disposition: Annotated[WriteDisposition, BeforeValidator(_disposition)]
    include_from_parent: list[str]
    processing_steps: list[ProcessingStep]
    remove_fields: list[str]
    columns: dict[str, ColumnHint]
    selected: bool
    parallelized: bool
    cadence: Cadence
    endpoint: Annotated[Endpoint, BeforeValidator(_path_only)]


@with_config(_STRICT)
class ResourceConfig(ResourceDefaults, total=False):
    """One resource: how it is read, what its records are, how often it is loaded."""

    name: Required[str]
    model: Any
    endpoints: list[Annotated[Endpoint, BeforeValidator(_path_only)]]
    """Several endpoints instead of one, whose records are one resource. What several of them list is one row."""


@with_config(_STRICT)
class Client(TypedDict, total=False):
    """Where the API is, who logs in, what holds for every request, and how many requests it bears."""

    base_url: str
    headers: dict[str, str]
    auth: Any
    paginator: Any
    requests_per_second: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)]
    concurrency: Annotated[int, Field(ge=1, le=64)]


@with_config(_STRICT)
class ApiConfig(TypedDict):
    """One API, whole."""

    client: Client
    resources: list[Annotated[ResourceConfig, BeforeValidator(_name_only)]]
    resource_defaults: NotRequired[ResourceDefaults]
