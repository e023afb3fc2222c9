"""From the guide's dialect to what dlt's `rest_api` accepts.

`limit` becomes a query parameter, the stop condition a paginator and the error handler the HTTP
session: dlt's own configuration knows none of the three, and refuses them.
"""

from dlt.common import jsonpath
from dlt.sources.rest_api.typing import Endpoint as RestApiEndpoint
from dlt.sources.rest_api.typing import EndpointResource, RESTAPIConfig

from crm_assets.apis.api_config import ApiConfig, Endpoint, Resource
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.paginators import LastRecordCursorPaginator, SinglePagePaginator
from crm_assets.models.columns import dlt_columns


def rest_api_config(
    table: ApiConfig, row: Resource, connection: Connection, traffic: Traffic, start: str | None = None
) -> RESTAPIConfig:
    """Return the `rest_api` configuration of one row of `table`, for a listing that begins at the cursor `start`.

    One configuration per resource, because `rest_api` knows one session per client, and each
    resource needs its own: sessions are not safe to share between threads, and each has its own retries.
    """
    defaults = table["resource_defaults"]
    endpoint: Endpoint = {**defaults["endpoint"], **row["endpoint"]}
    return {
        "client": {
            "base_url": connection.base_url,
            "auth": {"type": "http_basic", "username": connection.email, "password": connection.api_key},
            "session": CrmSession(row["name"], endpoint, connection, traffic),
        },
        "resource_defaults": {
            "primary_key": defaults["primary_key"],
            "write_disposition": defaults["write_disposition"],
        },
        "resources": [_resource(row["name"], endpoint, connection, traffic, start)],
    }


def _resource(
    name: str, endpoint: Endpoint, connection: Connection, traffic: Traffic, start: str | None
) -> EndpointResource:
    paginator = endpoint["paginator"]
    # dlt would parse a selector given as text anew for every page.
    selector = jsonpath.compile_path(endpoint["data_selector"])
    asked: RestApiEndpoint = {"path": endpoint["path"], "data_selector": selector}
    if paginator["type"] == "cursor":
        asked["params"] = {"limit": connection.page_size or paginator["limit"]}
        asked["paginator"] = LastRecordCursorPaginator(name, paginator["cursor_param"], connection, traffic, start)
    else:
        asked["paginator"] = SinglePagePaginator(name, connection)
    return {"name": name, "columns": dlt_columns(name), "endpoint": asked}
