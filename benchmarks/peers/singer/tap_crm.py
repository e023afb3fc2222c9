"""A tap written with the Singer SDK: eleven streams, pages with a cursor, types as the API's guide declares them."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BasicAuthenticator
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.pagination import JSONPathPaginator, SinglePagePaginator

API = json.loads(Path(os.environ["BENCH_API"]).read_text())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TYPES = {
    "bigint": th.IntegerType(maximum=2**63 - 1),
    "text": th.StringType(),
    "bool": th.BooleanType(),
    "double": th.NumberType(),
    "timestamp": th.DateTimeType(),
    "json": th.CustomType({"type": ["array", "object", "null"]}),
}


def timestamp(value: Any) -> str | None:
    """Return seconds or milliseconds since 1970, or ISO 8601, as ISO 8601; None for no time."""
    if value in (0, "0"):
        return None
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return (EPOCH + timedelta(seconds=number / 1000 if abs(number) >= 10**11 else number)).isoformat()


CONVERT: dict[str, Callable[[Any], Any]] = {
    "bigint": int,
    "double": float,
    "bool": lambda value: value == "true" if isinstance(value, str) else value,
    "timestamp": timestamp,
    "text": lambda value: value if isinstance(value, str) else json.dumps(value),
    "json": lambda value: value,
}
"""By type, what makes a value of it from what the API sends, now and then as text."""


def converted(data_type: str, value: Any) -> Any:
    """Return a value as the declared type has it; None for none, and for an empty text that stands for a number."""
    if value is None or (value == "" and data_type != "text"):
        return None
    return CONVERT[data_type](value)


class CrmStream(RESTStream[str]):
    """One resource."""

    records_jsonpath = "$.data[*]"
    primary_keys = ("id",)
    rest_method = "GET"

    @property
    def url_base(self) -> str:
        """Address of the API."""
        return str(self.config["url"])

    @property
    def authenticator(self) -> BasicAuthenticator:
        """The login."""
        return BasicAuthenticator(username=self.config["email"], password=self.config["api_key"])

    def get_new_paginator(self) -> Any:
        """Return what finds the next page: the cursor of the last record."""
        return JSONPathPaginator("$.data[-1:].cursor") if API[self.name]["paged"] else SinglePagePaginator()

    def get_url_params(self, context: Any, next_page_token: str | None) -> dict[str, Any]:
        """Return the parameters of a request."""
        if not API[self.name]["paged"]:
            return {}
        return {"limit": 100} | ({"cursor": next_page_token} if next_page_token else {})

    def post_process(self, row: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Return a record as it is declared."""
        columns = API[self.name]["columns"]
        return {field: converted(columns[field]["type"], value) for field, value in row.items() if field in columns}


class TapCrm(Tap):
    """The tap."""

    name = "tap-crm"
    message_writer_class = MsgSpecWriter
    config_jsonschema = th.PropertiesList(
        th.Property("url", th.StringType, required=True),
        th.Property("email", th.StringType, required=True),
        th.Property("api_key", th.StringType, required=True, secret=True),
    ).to_dict()

    def discover_streams(self) -> list[CrmStream]:
        """Return a stream for each resource."""
        streams = []
        for resource, described in API.items():
            fields = described["columns"].items()
            schema = th.PropertiesList(*(th.Property(field, TYPES[column["type"]]) for field, column in fields))
            streams.append(CrmStream(self, resource, schema.to_dict(), described["path"]))
        return streams


if __name__ == "__main__":
    TapCrm.cli()
