"""Ask for the first page of a resource, once: is the CRM there, does it know us, what does it hold."""

from dataclasses import dataclass
from time import monotonic

from dlt.sources.helpers.rest_client.auth import HttpBasicAuth

from crm_assets.api.answers import select
from crm_assets.api.connection import Connection, Traffic
from crm_assets.api.guide import Endpoint, EndpointTable, ErrorHandler, Resource
from crm_assets.api.http import CrmSession
from crm_assets.errors import CrmError

_ONCE: ErrorHandler = {"retry_on_status_codes": [], "max_retries": 0, "backoff_factor": 0}


@dataclass(frozen=True)
class Ping:
    """What one resource answered. `records` counts the first page; `error` is None when all is well."""

    resource: str
    seconds: float
    records: int | None = None
    error: CrmError | None = None


def ping(table: EndpointTable, row: Resource, connection: Connection) -> Ping:
    """Ask for the first page of one row of `table`, without retries."""
    endpoint: Endpoint = {**table["resource_defaults"]["endpoint"], **row["endpoint"], "error_handler": _ONCE}
    paginator = endpoint["paginator"]
    params = {"limit": connection.page_size or paginator["limit"]} if paginator["type"] == "cursor" else {}
    started = monotonic()
    with CrmSession(row["name"], endpoint, connection, Traffic()) as session:
        try:
            response = session.get(
                connection.base_url + endpoint["path"],
                params=params,
                auth=HttpBasicAuth(connection.email, connection.api_key),
            )
        except CrmError as error:
            return Ping(row["name"], monotonic() - started, error=error)
        records = len(select(response.json(), endpoint["data_selector"]))
    return Ping(row["name"], monotonic() - started, records)
