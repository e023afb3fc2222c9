"""A low-code source of Airbyte, read into the DuckDB cache of PyAirbyte; all streams at the same time."""

import json
import os
from pathlib import Path
from typing import Any

import airbyte as ab
from airbyte.caches import DuckDBCache

API = json.loads(Path(os.environ["BENCH_API"]).read_text())
TYPES = {
    "bigint": ["integer", "null"],
    "text": ["string", "null"],
    "bool": ["boolean", "null"],
    "double": ["number", "null"],
    "timestamp": ["string", "null"],  # seconds, milliseconds and ISO 8601, as the API sends them
    "json": ["array", "object", "null"],
}


def stream(name: str, described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of one stream."""
    properties = {field: {"type": TYPES[column["type"]]} for field, column in described["columns"].items()}
    numbers = [field for field, column in described["columns"].items() if column["type"] in ("bigint", "double")]
    retriever: dict[str, Any] = {
        "type": "SimpleRetriever",
        "requester": {
            "type": "HttpRequester",
            "url_base": "{{ config['url'] }}",
            "path": described["path"],
            "http_method": "GET",
            "authenticator": {
                "type": "BasicHttpAuthenticator",
                "username": "{{ config['email'] }}",
                "password": "{{ config['api_key'] }}",
            },
        },
        "record_selector": {
            "type": "RecordSelector",
            "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
            "schema_normalization": "Default",
        },
    }
    if described["paged"]:
        retriever["paginator"] = {
            "type": "DefaultPaginator",
            "pagination_strategy": {
                "type": "CursorPagination",
                "cursor_value": "{{ last_record.get('cursor', '') }}",
                "stop_condition": "{{ not last_record.get('cursor') }}",
                "page_size": 100,
            },
            "page_size_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "limit"},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "cursor"},
        }
    return {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": ["id"],
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": properties}},
        "retriever": retriever,
        "transformations": [
            {"type": "CustomTransformation", "class_name": "components.EmptyIsNull", "fields": numbers}
        ],
    }


MANIFEST = {
    "version": "7.39.1",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["milestone"]},
    "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": len(API)},
    "streams": [stream(name, described) for name, described in API.items()],
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "required": ["url", "email", "api_key"],
            "properties": {
                "url": {"type": "string"},
                "email": {"type": "string"},
                "api_key": {"type": "string", "airbyte_secret": True},
            },
        },
    },
}

if __name__ == "__main__":
    source = ab.get_source(
        "source-crm",
        source_manifest=MANIFEST,
        config={
            "url": os.environ["BENCH_URL"],
            "email": os.environ["BENCH_EMAIL"],
            "api_key": os.environ["BENCH_API_KEY"],
        },
        streams="*",
    )
    cache = DuckDBCache(db_path=os.environ["BENCH_DATABASE"], schema_name="crm")
    print(source.read(cache=cache, write_strategy="merge").processed_records)
