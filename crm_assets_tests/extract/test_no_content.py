"""HTTP 204: a body that is there is read, and what is really empty can be an empty listing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import pytest

from crm_assets.account import Account, resolve_account
from crm_assets.errors import CrmUnavailable, UnexpectedResponse
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connect import connect
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.fetch import Listings, fetch
from crm_assets.extract.probe import probe_resources
from crm_assets.extract.progress import ProgressListener
from crm_assets_tests.conftest import impatient
from crm_assets_tests.sandbox_apis import CONFIGS

NOTES = b'[{"id": 1}, {"id": 2}]'
IGNORE = {"status_code": 204, "action": "ignore"}
EMPTY = {
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a length of 0": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "the last chunk alone": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
FULL = {
    "a length": b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n%s" % (len(NOTES), NOTES),
    "chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"
    % (NOTES[:5], len(NOTES) - 5, NOTES[5:]),
}


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Scripted(ThreadingTCPServer):
    """Answers each target with the bytes that stand under it, over connections that are kept alive."""

    daemon_threads = True

    def __init__(self, answers: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.ports: set[int] = set()
        """Of clients, one for each connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        self.server.ports.add(self.client_address[1])
        while target := self.rfile.readline().decode().split(" ")[1:2]:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(self.server.answers[target[0]])


@contextmanager
def scripted(answers: dict[str, bytes]) -> Iterator[Scripted]:
    with Scripted(answers) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def account_of(url: str, directory: Path, *resources: dict[str, Any], actions: list[Any]) -> Account:
    api = {
        "client": {"base_url": url},
        "resource_defaults": {
            "primary_key": "id",
            "write_disposition": "merge",
            "endpoint": {"response_actions": actions},
        },
        "resources": list(resources),
    }
    return resolve_account("acme", api=impatient(api), data_dir=directory)


def read(account: Account, directory: Path, **limits: Any) -> Listings:
    with connect(account) as connection:
        used = replace(connection, **limits)
        return fetch(account, account.resources, used, directory, ProgressListener(lambda _: None, print))


def counts(listings: Listings) -> dict[str, int]:
    assert not listings.failed, listings.failed
    return {one.resource: one.records for one in listings.complete}


@pytest.mark.parametrize("kind", [*FULL, *EMPTY])
def test_the_response_after_a_204_is_right_on_the_same_connection(kind: str, tmp_path: Path) -> None:
    answers = {"/notes": (FULL | EMPTY)[kind], "/next": ok(b'[{"id": 3}]')}
    with scripted(answers) as crm:
        account = account_of(crm.url, tmp_path, {"name": "notes"}, actions=[IGNORE])
        with CrmSession(account.resource("notes"), Connection(crm.url), Traffic()) as session:
            for _ in range(2):
                found = session.get(f"{crm.url}/notes")
                assert (found.status_code, found.content) == ((200, NOTES) if kind in FULL else (204, b""))
                assert session.get(f"{crm.url}/next").json() == [{"id": 3}]
        assert len(crm.ports) == 1


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("actions", [[], [IGNORE]])
def test_a_204_with_a_body_is_a_page(kind: str, actions: list[Any], tmp_path: Path) -> None:
    with scripted({"/notes": FULL[kind]}) as crm:
        account = account_of(crm.url, tmp_path, {"name": "notes"}, actions=actions)
        assert counts(read(account, tmp_path)) == {"notes": 2}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 100\r\nConnection: close\r\n\r\n[",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
)
def test_a_204_whose_body_is_cut_off_is_no_page(answer: bytes, tmp_path: Path) -> None:
    with scripted({"/notes": answer}) as crm:
        account = account_of(crm.url, tmp_path, {"name": "notes"}, actions=[])
        error = read(account, tmp_path, read_timeout=0.2).failed["notes"]
        assert isinstance(error, CrmUnavailable)


@pytest.mark.parametrize("kind", EMPTY)
def test_a_204_that_is_ignored_is_an_empty_listing(kind: str, tmp_path: Path) -> None:
    paged = {"type": "page_number", "base_page": 1, "total_path": None}
    resources = [
        {"name": "tickets", "endpoint": {"path": "tickets"}},
        {"name": "tasks", "endpoint": {"path": "tasks", "paginator": paged}},
        {"name": "contacts", "endpoint": {"path": "contacts", "paginator": paged}},
        {"name": "notes", "endpoint": {"path": "contacts/{resources.contacts.id}/notes"}},
    ]
    answers = {
        "/tickets": EMPTY[kind],
        "/tasks?page=1": EMPTY[kind],
        "/contacts?page=1": ok(b'[{"id": 1}, {"id": 2}]'),
        "/contacts?page=2": EMPTY[kind],
        "/contacts/1/notes": EMPTY[kind],
        "/contacts/2/notes": ok(NOTES),
    }
    with scripted(answers) as crm:
        account = account_of(crm.url, tmp_path, *resources, actions=[IGNORE])
        assert counts(read(account, tmp_path)) == {"tickets": 0, "tasks": 0, "contacts": 2, "notes": 2}
        with connect(account) as connection:
            probes = {one.resource: one for one in probe_resources(account.resources, connection, account.api)}
        assert {name: one.records for name, one in probes.items()} == {
            "tickets": 0,
            "tasks": 0,
            "contacts": 2,
            "notes": 0,
        }


def test_a_204_that_is_not_ignored_is_an_empty_body(tmp_path: Path) -> None:
    with scripted({"/notes": EMPTY["no body"]}) as crm:
        account = account_of(crm.url, tmp_path, {"name": "notes"}, actions=[])
        error = read(account, tmp_path).failed["notes"]
        assert isinstance(error, UnexpectedResponse)
        assert "HTTP 204 with an empty body" in str(error)


def test_an_empty_list_of_agilecrm_may_call_itself_html(tmp_path: Path) -> None:
    nothing = b"HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"
    with scripted({"/dev/api/milestone/pipelines": nothing}) as crm:
        account = resolve_account(
            "acme", api=CONFIGS["agilecrm"], base_url=crm.url, resources=["milestone"], data_dir=tmp_path
        )
        with connect(account, email="me", api_key="key") as connection:
            found = fetch(account, account.resources, connection, tmp_path, ProgressListener(lambda _: None, print))
        assert counts(found) == {"milestone": 0}
