"""From the guide's dialect to what dlt's `rest_api` accepts.

`limit` becomes a query parameter, the stop condition a paginator and the error handler the HTTP
session: dlt's own configuration knows none of the three, and refuses them.
"""

from dlt.common import jsonpath
from dlt.extract import DltResource
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from dlt.sources.rest_api import rest_api_resources
from dlt.sources.rest_api.typing import Endpoint as RestApiEndpoint

from crm_assets.apis.api import Resource
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import LastRecordCursorPaginator, NextRequest, ResumingPaginator, SinglePagePaginator
from crm_assets.models.columns import dlt_columns


def rest_api_resource(
    resource: Resource, connection: Connection, traffic: Traffic, start: NextRequest | None = None
) -> DltResource:
    """Return the dlt resource of `rest_api` that lists `resource`, from the request `start` on.

    One configuration per resource, because `rest_api` knows one session per client, and each
    resource needs its own: sessions are not safe to share between threads, and each has its own retries.
    """
    endpoint = resource.endpoint
    # dlt would parse a selector given as text anew for every page.
    selector = jsonpath.compile_path(endpoint["data_selector"])
    request: RestApiEndpoint = {
        "path": endpoint["path"],
        "params": {**listing_params(resource, connection)},
        "data_selector": selector,
        "paginator": ResumingPaginator(_paginator(resource), start) if start else _paginator(resource),
    }
    [found] = rest_api_resources(
        {
            "client": {
                "base_url": connection.base_url,
                "auth": {"type": "http_basic", "username": connection.email, "password": connection.api_key},
                "session": CrmSession(resource.name, endpoint, connection, traffic),
            },
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": [{"name": resource.name, "columns": dlt_columns(resource.columns), "endpoint": request}],
        }
    )
    return found


def listing_params(resource: Resource, connection: Connection) -> dict[str, int]:
    """Return the query parameters of the first request for `resource`."""
    paginator = resource.endpoint["paginator"]
    return {"limit": connection.page_size or paginator["limit"]} if paginator["type"] == "cursor" else {}


def _paginator(resource: Resource) -> BasePaginator:
    paginator = resource.endpoint["paginator"]
    if paginator["type"] == "cursor":
        return LastRecordCursorPaginator(resource.name, paginator["cursor_param"])
    return SinglePagePaginator(resource.name)
