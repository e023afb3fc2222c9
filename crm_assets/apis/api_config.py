"""The vocabulary of an endpoint table: the words of the CRM's configuration guide, and nothing else.

The guide's dialect is close to dlt's `rest_api` but not the same: `rest_api.py` translates it.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from crm_assets.errors import ApiConfigError
from crm_assets.models import MODELS

_STRICT = ConfigDict(extra="forbid")

Cadence = Literal["frequent", "daily"]
"""How often a resource is to be loaded; the settings `automation.<cadence>_cron` say when that is."""


@with_config(_STRICT)
class CursorPaginator(TypedDict):
    """Pages whose last record carries the cursor of the next page."""

    type: Literal["cursor"]
    limit: int
    cursor_param: str
    stop_condition: Literal["not last_record.get('cursor')"]


@with_config(_STRICT)
class SinglePage(TypedDict):
    """The whole listing in one answer."""

    type: Literal["single_page"]


@with_config(_STRICT)
class ErrorHandler(TypedDict):
    """Which answers are asked for again, how often, and after `backoff_factor * 2**(n - 1)` seconds."""

    retry_on_status_codes: list[int]
    max_retries: int
    backoff_factor: float


@with_config(_STRICT)
class Endpoint(TypedDict, total=False):
    """One endpoint: its path, where the records are in the answer, how it pages, how it is retried."""

    path: str
    data_selector: str
    paginator: Annotated[CursorPaginator | SinglePage, Discriminator("type")]
    error_handler: ErrorHandler


@with_config(_STRICT)
class Resource(TypedDict):
    """One row of the table: how to ask, and how often. What its endpoint leaves out comes from `resource_defaults`."""

    name: str
    endpoint: Endpoint
    cadence: Cadence


@with_config(_STRICT)
class Auth(TypedDict):
    """Who asks. The values name settings of the section `sources.crm`."""

    type: Literal["basic"]
    username: Literal["{email}"]
    password: Literal["{api_key}"]


@with_config(_STRICT)
class Client(TypedDict):
    """Where the API is, and who asks. The values name settings of the section `sources.crm`."""

    base_url: Literal["{base_url}"]
    auth: Auth


@with_config(_STRICT)
class ResourceDefaults(TypedDict):
    """What holds for every resource that does not say otherwise."""

    primary_key: Literal["id"]
    write_disposition: Literal["merge"]
    endpoint: Endpoint


@with_config(_STRICT)
class ApiConfig(TypedDict):
    """One API of the CRM, whole."""

    client: Client
    resource_defaults: ResourceDefaults
    resources: list[Resource]


_TABLE = TypeAdapter(ApiConfig)


def validated(table: ApiConfig) -> ApiConfig:
    """Return `table` if every key, resource and paginator in it is known.

    Raises:
        ApiConfigError: names each unknown or unusable entry and the resource it belongs to.
    """
    try:
        _TABLE.validate_python(table)
    except ValidationError as error:
        faults = "; ".join(_fault(table, detail) for detail in error.errors())
        raise ApiConfigError(f"The endpoint table cannot be used: {faults}") from None
    unknown = [row["name"] for row in table["resources"] if row["name"] not in MODELS]
    if unknown:
        raise ApiConfigError(
            f"The endpoint table names resources that have no model: {', '.join(unknown)}. "
            f"Known: {', '.join(MODELS)}. Add the model in crm_assets/schemas/."
        )
    return table


def select(table: ApiConfig, names: Sequence[str] | None) -> list[Resource]:
    """Return the rows called `names`, in the table's order; all of them for None.

    Raises:
        ApiConfigError: names what is not in the table.
    """
    rows = table["resources"]
    if names is None:
        return rows
    known = [row["name"] for row in rows]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ApiConfigError(f"Unknown resource: {', '.join(unknown)}. Known: {', '.join(known)}.")
    return [row for row in rows if row["name"] in names]


def _fault(table: ApiConfig, detail: ErrorDetails) -> str:
    where = [str(part) for part in detail["loc"]]
    if where[0] == "resources" and len(where) > 1:
        where[:2] = [str(table["resources"][int(where[1])].get("name", f"row {where[1]}"))]
    problem = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
    return f"{'.'.join(where)}: {problem} (got {detail['input']!r})"
