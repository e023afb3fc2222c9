"""The API as a `rest_api` source of dlt."""

import json
import os
from pathlib import Path
from typing import Any

from dlt.sources.rest_api import rest_api_source

API = json.loads(Path(os.environ["BENCH_API"]).read_text())


def crm(parallelized: bool = False) -> Any:
    """Return the source: a table for each resource, nested values in it as JSON.

    Args:
        parallelized: whether the resources are read at the same time.
    """
    resources: list[Any] = [
        {"name": name, "endpoint": {"path": described["path"], **paging(described["paged"])}}
        for name, described in API.items()
    ]
    return rest_api_source(
        {
            "client": {
                "base_url": os.environ["BENCH_URL"],
                "auth": {
                    "type": "http_basic",
                    "username": os.environ["BENCH_EMAIL"],
                    "password": os.environ["BENCH_API_KEY"],
                },
            },
            "resource_defaults": {
                "primary_key": "id",
                "write_disposition": "merge",
                "parallelized": parallelized,
                "endpoint": {"data_selector": "data"},
            },
            "resources": resources,
        },
        name="crm",
        max_table_nesting=0,
    )


def paging(paged: bool) -> dict[str, Any]:
    """Return what an endpoint says about its pages."""
    if not paged:
        return {"paginator": "single_page"}
    cursor = {"type": "cursor", "cursor_path": "data[-1].cursor", "cursor_param": "cursor"}
    return {"params": {"limit": 100}, "paginator": cursor}
