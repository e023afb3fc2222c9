"""Configurations as dlt's users have them, moved here: issues with comments, and lists by offset and by next link."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import dagster as dg
import orjson
import pytest

from crm_assets.account import resolve_account
from crm_assets_tests.conftest import Warehouse, run_assets

ISSUES = """
import dlt
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source
from dlt.sources.helpers.rest_client.paginators import HeaderLinkPaginator

config: RESTAPIConfig = {
    "client": {
        "base_url": "https://api.example.com/repos/acme/shop/",
        "auth": {"token": dlt.secrets["access_token"]},
        "paginator": HeaderLinkPaginator(),
    },
    "resource_defaults": {
        "primary_key": "id",
        "write_disposition": "merge",
        "endpoint": {"params": {"per_page": 2}},
    },
    "resources": [
        {
            "name": "issues",
            "endpoint": {
                "path": "issues",
                "params": {
                    "sort": "updated",
                    "state": "open",
                    "since": "{incremental.start_value}",
                },
                "incremental": {"cursor_path": "updated_at", "initial_value": "2024-01-25T11:21:28Z"},
            },
        },
        {
            "name": "issue_comments",
            "endpoint": {"path": "issues/{resources.issues.number}/comments"},
            "include_from_parent": ["id"],
        },
    ],
}
source = rest_api_source(config)
"""
CREATURES = """
from dlt.sources.rest_api import rest_api_source

by_link = rest_api_source(
    {
        "client": {"base_url": "https://api.example.com/api/v2/"},
        "resource_defaults": {"primary_key": "name", "write_disposition": "replace"},
        "resources": [
            {
                "name": "creatures",
                "endpoint": {
                    "path": "creature",
                    "params": {"limit": 3},
                    "data_selector": "results",
                    "paginator": {"type": "json_link", "next_url_path": "next"},
                },
            },
            {
                "name": "berries",
                "endpoint": {
                    "path": "berry",
                    "data_selector": "results",
                    "paginator": {"type": "offset", "limit": 2, "total_path": "count"},
                },
            },
        ],
    }
)
"""


def _issue(number: int) -> dict[str, Any]:
    return {
        "id": 10_000_000_000 + number,
        "number": number,
        "title": f"Issue {number}",
        "user": {"login": "someone", "id": 5},
        "labels": [{"name": "bug"}],
        "locked": False,
        "comments": number % 3,
        "closed_at": None,
        "updated_at": f"2024-02-{number:02}T10:00:00Z",
    }


def _comments(number: int) -> list[dict[str, Any]]:
    return [{"id": number * 100 + one, "body": f"Comment {one}", "reactions": {"+1": one}} for one in range(number % 3)]


class _Handler(BaseHTTPRequestHandler):
    """Answers in the shapes of two public APIs."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        here = f"http://{self.headers['Host']}{url.path}"
        if comments := re.fullmatch(r"/repos/acme/shop/issues/(\d+)/comments", url.path):
            self._by_header(_comments(int(comments[1])), query, here)
        elif url.path == "/repos/acme/shop/issues" and self.headers["Authorization"] == "Bearer t0ken":
            issues = [one for one in map(_issue, range(1, 8)) if one["updated_at"] >= query["since"]]
            self._by_header(issues, query, here)
        elif url.path in ("/api/v2/creature", "/api/v2/berry"):
            self._by_offset(
                [{"name": f"{url.path[8:]}-{one}", "url": f"{here}/{one}/"} for one in range(8)], query, here
            )
        else:
            self._send({"message": "Not Found"}, 404)

    def _by_header(self, records: list[Any], query: Mapping[str, str], here: str) -> None:
        page, size = int(query.get("page", 1)), int(query["per_page"])
        asked = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
        more = page * size < len(records)
        link = {"Link": f'<{here}?{asked}&page={page + 1}>; rel="next"'} if more else {}
        self._send(records[(page - 1) * size : page * size], headers=link)

    def _by_offset(self, records: list[Any], query: Mapping[str, str], here: str) -> None:
        start, size = int(query.get("offset", 0)), int(query["limit"])
        following = f"{here}?offset={start + size}&limit={size}" if start + size < len(records) else None
        self._send(
            {"count": len(records), "next": following, "previous": None, "results": records[start : start + size]}
        )

    def _send(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        content = orjson.dumps(body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def moved(folder: Path, text: str, address: str) -> str:
    """Write a configuration to a file; all that is changed in it is the address."""
    (folder / "api.py").write_text(text.replace("https://api.example.com", address))
    return str(folder / "api.py")


def test_issues_and_their_comments(
    warehouse: Warehouse, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__CODE__ACCESS_TOKEN", "t0ken")
    with serving() as address:
        account = resolve_account("code", api=moved(tmp_path, ISSUES, address))
        for _ in range(2):
            result = run_assets(instance, account=account)
            assert result.success
            assert not [one.description for one in result.get_asset_check_evaluations() if not one.passed]
            assert warehouse.query("SELECT number, title FROM crm_code.issues ORDER BY 1") == [
                (number, f"Issue {number}") for number in range(1, 8)
            ]
            comments = {(one["id"], _issue(number)["id"]) for number in range(1, 8) for one in _comments(number)}
            found = warehouse.query("SELECT id, _issues_id FROM crm_code.issue_comments WHERE _missing_since IS NULL")
            assert set(found) == comments
    types = warehouse.columns("issues", "crm_code")
    assert types["updated_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["user"] == types["labels"] == "JSON"
    assert types["locked"] == "BOOLEAN"


def test_a_list_by_next_link_and_one_by_offset(
    warehouse: Warehouse, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with serving() as address:
        account = resolve_account("creatures", api=moved(tmp_path, CREATURES, address))
        assert run_assets(instance, account=account).success
    assert [name for (name,) in warehouse.query("SELECT name FROM crm_creatures.creatures ORDER BY 1")] == [
        f"creature-{one}" for one in range(8)
    ]
    assert warehouse.query("SELECT count(*) FROM crm_creatures.berries") == [(8,)]
