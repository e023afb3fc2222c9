"""What a configuration leaves out: the defaults of the API, and then those of the guide."""

from collections.abc import Mapping
from typing import Any

from crm_assets.apis.api_config import ApiConfig, ErrorHandler

ERROR_HANDLER: ErrorHandler = {
    "retry_on_status_codes": [429, 500, 502, 503, 504],
    "max_retries": 3,
    "backoff_factor": 2,
}
"""The guide's words on what is retried."""


def complete_rows(config: ApiConfig) -> list[dict[str, Any]]:
    """Return the rows of `config` with all that they leave out, merged as dlt does: `params` and `json` by key."""
    return [_complete(row, config.get("resource_defaults", {}), config["client"]) for row in config["resources"]]


def endpoint_places(row: Mapping[str, Any]) -> list[str]:
    """Return where each of the endpoints of a complete row stands in its configuration, for messages."""
    count = len(row["endpoints"])
    return ["endpoint"] if count == 1 else [f"endpoints.{number}" for number in range(count)]


def _complete(row: Mapping[str, Any], defaults: Mapping[str, Any], client: Mapping[str, Any]) -> dict[str, Any]:
    general = {"path": row["name"], **defaults.get("endpoint", {})}
    written = row.get("endpoints", [row.get("endpoint", {})])
    return {
        "write_disposition": "append",
        "cadence": "daily",
        **{word: value for word, value in {**defaults, **row}.items() if word != "endpoint"},
        "endpoints": [_complete_endpoint(own, general, client) for own in written],
        "columns": {**defaults.get("columns", {}), **row.get("columns", {})},
    }


def _complete_endpoint(own: Mapping[str, Any], general: Mapping[str, Any], client: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = {"method": "GET", **general, **own}
    for word in ("params", "json"):
        if word in general and word in own:
            endpoint[word] = {**general[word], **own[word]}
    if "paginator" not in endpoint and "paginator" in client:
        endpoint["paginator"] = client["paginator"]
    endpoint["method"] = endpoint["method"].upper()
    endpoint["error_handler"] = {
        **ERROR_HANDLER,
        **general.get("error_handler", {}),
        **own.get("error_handler", {}),
    }
    if newer := endpoint.get("incremental", {}).get("endpoints"):
        completed = [_complete_endpoint(one, general, client) for one in newer]
        endpoint["incremental"] = {**endpoint["incremental"], "endpoints": completed}
    return endpoint
