"""From a configuration's words to what dlt's `rest_api` accepts.

The guide's `limit` becomes a query parameter, its stop condition a paginator and its error handler the HTTP
session: dlt's own configuration knows none of the three, and refuses them.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from dlt.common import jsonpath
from dlt.extract import DltResource
from dlt.sources.rest_api import rest_api_resources
from requests import Request

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import is_last_record_cursor
from crm_assets.apis.expressions import EXPANDED, escaped
from crm_assets.apis.references import resolved
from crm_assets.errors import UnexpectedResponse
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection
from crm_assets.extract.incremental import with_start
from crm_assets.extract.paginators import ListingPaginator, NextRequest, asked_limit, paginator_of, put
from crm_assets.extract.response_actions import is_function
from crm_assets.extract.responses import body_problem, without_userinfo


def rest_api_resource(
    resource: Resource,
    connection: Connection,
    session: CrmSession,
    start: NextRequest | None = None,
) -> DltResource:
    """Return the dlt resource of `rest_api` that lists `resource`, from the request `start` on.

    One configuration per resource, because `rest_api` knows one session per client, and each
    resource needs its own: sessions are not safe to share between threads, and each has its own retries.

    Args:
        resource: what is listed.
        connection: address, headers and page size.
        session: what sends the requests, with the login.
        start: request for the page to begin with; None for the first.
    """
    paginator = paginator_of(resource, connection)
    endpoint: dict[str, Any] = {
        **request_of(resource, connection),
        "paginator": ListingPaginator(resource.name, paginator, start),
    }
    if selector := resource.endpoint.get("data_selector"):
        # dlt would parse a selector given as text anew for every page.
        endpoint["data_selector"] = jsonpath.compile_path(selector)
    if actions := response_actions(resource, connection):
        endpoint["response_actions"] = actions
    config: Any = {
        "client": {
            "base_url": connection.base_url,
            "headers": connection.resolve(connection.headers),
            "session": session,
        },
        "resources": [{"name": resource.name, "endpoint": endpoint}],
    }
    [found] = rest_api_resources(config)
    return found


def request_of(resource: Resource, connection: Connection) -> dict[str, Any]:
    """Return method, path, headers, parameters and body of the first request, with the expressions that are in them."""
    endpoint: Mapping[str, Any] = with_start(resource).endpoint

    def value(reference: Any) -> Any:
        return escaped(connection.values[reference])  # braces of a secret are no expression

    found = {word: resolved(endpoint[word], value) for word in EXPANDED if word in endpoint}
    paginator: Any = endpoint.get("paginator")
    if is_last_record_cursor(paginator):
        _put_limit(found, paginator, connection.page_size or paginator["limit"])
    return {"method": endpoint["method"], **found}


def _put_limit(found: dict[str, Any], paginator: Mapping[str, Any], limit: int) -> None:
    """Say in a request how many records a page has, unless the configuration says so itself."""
    request = Request(params=found.get("params"), json=deepcopy(found.get("json")), data=found.get("data"))
    if asked_limit(request, paginator) is not None:
        return
    put(request, paginator, "limit", limit)
    parts = {"params": request.params, "json": request.json, "data": request.data}
    found.update({word: part for word, part in parts.items() if part})


def response_actions(resource: Resource, connection: Connection) -> list[Any]:
    """Return the response actions of `resource`, and one more where they may change a response: to check it then."""
    actions = resource.endpoint.get("response_actions", [])
    return [*actions, _checking(resource, connection)] if any(map(is_function, actions)) else [*actions]


def _checking(resource: Resource, connection: Connection) -> Any:
    """Return a response action that looks for records in what the user's own have made of a response."""

    def check(response: Any) -> None:
        if response.status_code < 400 and (problem := body_problem(response, resource, connection)):
            why = f"HTTP {response.status_code} with {problem} from {without_userinfo(response.url)}"
            advice = "Its table is untouched. Check response_actions in the API's configuration."
            raise UnexpectedResponse(resource.name, connection.redacted(why), advice)

    return check
