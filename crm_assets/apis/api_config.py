"""The vocabulary of an API's configuration: the words of the CRM's configuration guide, and nothing else.

The guide's dialect is close to dlt's `rest_api` but not the same: `extract/rest_api.py` translates it.
"""

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Discriminator, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from crm_assets.errors import ApiConfigError
from crm_assets.models import MODELS

_STRICT = ConfigDict(extra="forbid")

Cadence = Literal["frequent", "daily"]
"""How often a resource is to be loaded; the settings `automation.<cadence>_cron` say when that is."""
CADENCES: tuple[Cadence, ...] = get_args(Cadence)


@with_config(_STRICT)
class CursorPaginator(TypedDict):
    """Pages whose last record carries the cursor of the next page."""

    type: Literal["cursor"]
    limit: int
    cursor_param: str
    stop_condition: Literal["not last_record.get('cursor')"]


@with_config(_STRICT)
class SinglePage(TypedDict):
    """The whole listing in one response."""

    type: Literal["single_page"]


@with_config(_STRICT)
class ErrorHandler(TypedDict):
    """Which responses are retried, how often, and after `backoff_factor * 2**(n - 1)` seconds.

    Lost connections and bodies without a list are retried too. Up to half a factor is added at random.
    """

    retry_on_status_codes: list[int]
    max_retries: int
    backoff_factor: float


@with_config(_STRICT)
class Endpoint(TypedDict, total=False):
    """One endpoint: its path, where the records are in the response, how it pages, how it is retried."""

    path: str
    data_selector: str
    paginator: Annotated[CursorPaginator | SinglePage, Discriminator("type")]
    error_handler: ErrorHandler


@with_config(_STRICT)
class ResourceConfig(TypedDict):
    """One resource: how it is read, and how often. What its endpoint leaves out comes from `resource_defaults`."""

    name: str
    endpoint: Endpoint
    cadence: Cadence


@with_config(_STRICT)
class Auth(TypedDict):
    """Who logs in. The values name settings of the account."""

    type: Literal["basic"]
    username: Literal["{email}"]
    password: Literal["{api_key}"]


@with_config(_STRICT)
class Client(TypedDict):
    """Where the API is, and who logs in. The values name settings of the account."""

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
    resources: list[ResourceConfig]


_CONFIG = TypeAdapter(ApiConfig)


def validate(config: ApiConfig) -> None:
    """Check that every key, resource and paginator in `config` is known.

    Raises:
        ApiConfigError: names each unknown or unusable entry and the resource it belongs to.
    """
    try:
        _CONFIG.validate_python(config)
    except ValidationError as error:
        faults = "; ".join(_fault(config, detail) for detail in error.errors())
        raise ApiConfigError(f"The API's configuration cannot be used: {faults}") from None
    unknown = [row["name"] for row in config["resources"] if row["name"] not in MODELS]
    if unknown:
        raise ApiConfigError(
            f"The API's configuration names resources that have no model: {', '.join(unknown)}. "
            f"Known: {', '.join(MODELS)}. Add the model in crm_assets/models/."
        )


def _fault(config: ApiConfig, detail: ErrorDetails) -> str:
    where = [str(part) for part in detail["loc"]]
    if where[0] == "resources" and len(where) > 1:
        where[:2] = [str(config["resources"][int(where[1])].get("name", f"row {where[1]}"))]
    problem = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
    return f"{'.'.join(where)}: {problem} (got {detail['input']!r})"
