"""Answers that nobody should send: each has a outcome, nothing hangs, and nothing grows without bound."""

import gzip
import json
import resource
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from crm_assets.apis.api import Resource
from crm_assets.errors import CrmUnavailable, UnexpectedResponse, own_error
from crm_assets.extract.checkpoints import CheckpointStore
from crm_assets.extract.listing import ListingReader, ReadOptions
from crm_assets.extract.spool import Spooled
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import RESOURCES, WRITER, Materialize, Warehouse, connection_to, failure_of
from crm_assets_tests.trickling import trickling


class Answering(ThreadingHTTPServer):
    """Answers everything with the same head and body."""

    head: dict[str, str]
    body: bytes
    status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        for name, value in self.server.head.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
        except OSError:
            self.close_connection = True  # the client has had enough

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def answering(body: bytes = b"{}", status: int = 200, **head: str) -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Handler) as server:
        server.body, server.status = body, status
        server.head = {name.replace("_", "-"): value for name, value in head.items()}
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


Read = Callable[..., Spooled]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read notes from an address, and raise what the project says of it."""

    def attempt(url: str, resource: Resource = RESOURCES["notes"], **limits: Any) -> Spooled:
        connection = replace(connection_to(url, "me@example.com", "s3cr3t"), **limits)
        options = ReadOptions(WRITER, tmp_path, CheckpointStore(tmp_path / "checkpoints", connection.source_id, 0.0))
        try:
            return ListingReader(resource, connection, options, print).read()
        except Exception as error:
            raise own_error(error, "notes") from None

    return attempt


HEAD = b"HTTP/1.1 200 OK\r\n"
TRICKLES = {
    "a head byte by byte": (HEAD + b"X: ", b"x"),
    "a head that begins again and again": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the length of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "a name inside a compressed body": (HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08" + b"\0" * 6, b"x"),
    "a body without a length": (HEAD + b"\r\n" + b'{"data": []}', b" "),
}


@pytest.mark.parametrize("kind", TRICKLES)
def test_an_answer_that_never_ends_is_given_up_wherever_it_is(read: Read, kind: str) -> None:
    started = monotonic()
    with (
        trickling(*TRICKLES[kind]) as port,
        pytest.raises(CrmUnavailable, match=r"no complete response within 0\.3 s from .* after 4 attempts"),
    ):
        read(f"http://127.0.0.1:{port}", answer_seconds=0.3)
    assert monotonic() - started < 10


@pytest.mark.parametrize("header", ["²", "Mon, 01 Jan 9999 00:00:00 -9999", "-5", "soon"])
def test_a_retry_after_that_makes_no_sense_is_none(read: Read, header: str) -> None:
    with answering(b"busy", 503, Retry_After=header) as crm, pytest.raises(CrmUnavailable, match="HTTP 503"):
        read(crm.url)


@pytest.mark.parametrize("target", ["http://127.0.0.1:99999/", "http://127.0.0.1:abc/", "http://[::1"])
def test_a_redirect_to_no_address_fails_the_resource(read: Read, target: str) -> None:
    with (
        answering(b"", 302, Location=target) as crm,
        pytest.raises(UnexpectedResponse, match="redirects to something that is not an address"),
    ):
        read(crm.url)


def test_an_answer_beyond_the_limit_fails_the_resource_and_names_the_setting(read: Read) -> None:
    with answering(b'{"data": [' + b'{"id": 1},' * 300_000 + b'{"id": 2}]}') as crm:
        with pytest.raises(UnexpectedResponse, match=r"more than 1,000,000 bytes from .*sources\.crm\.answer_bytes"):
            read(crm.url, answer_bytes=1_000_000)
        assert read(crm.url).rows == 300_001


def test_a_body_that_grows_a_thousandfold_is_given_up_at_the_limit(read: Read) -> None:
    bomb = gzip.compress(b'{"data": [' + b" " * (200 << 20))
    assert len(bomb) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        answering(bomb, Content_Encoding="gzip") as crm,
        pytest.raises(UnexpectedResponse, match="more than 10,000,000"),
    ):
        read(crm.url, answer_bytes=10_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 100_000, "invalid or cut-off JSON"),
        (b'{"data": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, "invalid or cut-off JSON"),
        (b'{"data": [{"id": 1, "name": "\xff\xfe"}]}', "invalid or cut-off JSON"),
    ],
)
def test_what_is_no_json_after_all_fails_the_resource(read: Read, body: bytes, words: str) -> None:
    with answering(body) as crm, pytest.raises(UnexpectedResponse, match=words):
        read(crm.url)


def test_a_number_of_any_length_is_kept_and_costs_no_other_record(read: Read) -> None:
    digits = b"9" * 5_000
    with answering(b'{"data": [{"id": ' + digits + b'}, {"id": 1, "big": ' + digits + b"}]}") as crm:
        notes = read(crm.url)
    assert (notes.rows, notes.rejected_rows) == (1, 1)
    [table] = notes.typed({}).tables()
    assert table["big"].to_pylist() == [digits.decode()]


def test_a_proxy_that_answers_byte_by_byte_is_given_up(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    started = monotonic()
    with trickling(HEAD + b"X: ", b"x") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(CrmUnavailable, match=r"no complete response within 0\.3 s from .* after 4 attempts"):
            read("https://crm.invalid", answer_seconds=0.3)
    assert monotonic() - started < 10


def test_a_tls_handshake_byte_by_byte_is_given_up(read: Read) -> None:
    started = monotonic()
    with (
        trickling(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00") as port,
        pytest.raises(CrmUnavailable, match=r"no complete response within 0\.3 s from .* after 4 attempts"),
    ):
        read(f"https://127.0.0.1:{port}", answer_seconds=0.3)
    assert monotonic() - started < 10


NAMES: dict[str, Callable[[int], dict[str, int]]] = {
    "a thousand names in each record": lambda place: {f"f{place}_{name}": name for name in range(1_000)},
    "names that share a column": lambda place: {"-" * (1 + name) + "+" * (place % 50): name for name in range(200)},
}


@pytest.mark.parametrize("kind", NAMES)
def test_more_names_than_a_table_has_columns_take_bounded_time_and_memory(read: Read, kind: str) -> None:
    records = [{"id": place, **NAMES[kind](place)} for place in range(1, 1_001)]
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, monotonic()
    with answering(json.dumps({"data": records}).encode()) as crm:
        notes = read(crm.url, answer_bytes=100 << 20)
    assert notes.rows == 1_000
    assert len(notes.columns_of_fields) == 200
    shared = [
        json.loads(text or "{}") for table in notes.typed({}).tables() for text in table["other_fields"].to_pylist()
    ]
    assert len(shared) == 1_000
    for record, others in zip(records, shared, strict=True):
        assert others.items() <= record.items()
        assert len(record) - len(others) <= 201
    assert monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10


NOTES = b'{"data": [{"id": 1}]}'
JSON = {"accept": "application/json"}


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (NOTES, "text/html; charset=utf-8", "HTTP 200 with a response of type text/html instead of JSON from"),
        (NOTES, "TEXT/Plain", "a response of type text/plain instead of JSON from"),
        (
            b"<!doctype html><p>Log in",
            "text/html",
            r"a response of type text/html instead of JSON \(an HTML page\) from",
        ),
        (b"\n<notes/>", "application/xml", r"a response of type application/xml instead of JSON \(XML\) from"),
        (b"<?xml version='1.0'?><notes/>", "application/json", "HTTP 200 with XML instead of JSON from"),
    ],
)
def test_where_json_is_asked_for_a_response_of_another_type_is_no_page(
    read: Read, body: bytes, content_type: str, said: str
) -> None:
    with answering(body, Content_Type=content_type) as crm, pytest.raises(UnexpectedResponse, match=said) as error:
        read(crm.url, headers=JSON)
    assert "after 4 attempts" in str(error.value)


def test_an_endpoint_asks_for_json_or_takes_something_else(read: Read) -> None:
    def notes(accept: str) -> Resource:
        return replace(RESOURCES["notes"], endpoint={**RESOURCES["notes"].endpoint, "headers": {"Accept": accept}})

    with answering(NOTES, Content_Type="text/html") as crm:
        with pytest.raises(UnexpectedResponse, match="a response of type text/html instead of JSON"):
            read(crm.url, notes("application/json"))
        assert read(crm.url, notes("application/json, */*"), headers=JSON).rows == 1


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.crm+json", "Text/JSON", None]
)
def test_a_type_of_json_or_none_is_a_page_where_json_is_asked_for(read: Read, content_type: str | None) -> None:
    with answering(NOTES, 200, **{"Content_Type": content_type} if content_type else {}) as crm:
        assert read(crm.url, headers=JSON).rows == 1


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (NOTES, "text/html", None),
        (b"<html>", "application/xhtml+xml", "HTTP 200 with an HTML page instead of JSON"),
        (b"<notes/>", "text/xml", "HTTP 200 with XML instead of JSON"),
        (b"<?xml version='1.0'?><notes/>", "text/html", "HTTP 200 with XML instead of JSON"),
    ],
)
def test_where_no_type_is_asked_for_the_body_decides(
    read: Read, body: bytes, content_type: str, said: str | None
) -> None:
    with answering(body, Content_Type=content_type) as crm:
        if said is None:
            assert read(crm.url).rows == 1
        else:
            with pytest.raises(UnexpectedResponse, match=said):
                read(crm.url)


def test_a_header_of_megabytes_fails_the_resource(read: Read) -> None:
    with answering(X_Large="x" * (3 << 20)) as crm, pytest.raises(CrmUnavailable, match="after 4 attempts"):
        read(crm.url)


def test_an_answer_that_never_ends_is_given_up(read: Read) -> None:
    with Sandbox({"notes": 20}, email="me@example.com", api_key="s3cr3t") as crm:
        crm.fault(Fault("notes", "drip", pause=0.01))
        started = monotonic()
        with pytest.raises(CrmUnavailable, match=r"no complete response within 0\.2 s .*after 4 attempts"):
            read(crm.base_url, answer_seconds=0.2)
        assert monotonic() - started < 10


@pytest.mark.parametrize(
    "target",
    ["http://localhost:1/v1/notes", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "//example.com/"],
)
def test_a_redirect_to_another_place_is_not_followed(read: Read, target: str) -> None:
    with (
        answering(status=302, Location=target) as crm,
        pytest.raises(UnexpectedResponse, match="login was not sent there"),
    ):
        read(crm.url)


def test_a_certificate_that_does_not_match_is_no_safe_connection(read: Read, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=other.example.com"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(b'{"data": []}') as crm:
        crm.socket = context.wrap_socket(crm.socket, server_side=True)
        with pytest.raises(UnexpectedResponse, match="no secure connection"):
            read(f"https://127.0.0.1:{crm.server_port}")


DEEP = 1_000
ODD_RECORDS = r"""
{"id": 1, "subject": "NUL \u0000 inside"},
{"id": 2, "subject": "half an emoji \ud83d"},
{"id": 3, "answers": {"ratio": NaN, "top": Infinity, "bottom": -Infinity}},
{"id": 4, "answers": 123456789012345678901234567890},
{"id": 123456789012345678901234567890},
{"id": 6, "created_time": NaN},
{"id": 7, "deep": %s},
{"id": 8, "Subject": "case", "subject": "declared"},
{"id": 9, "isDefault": 1, "is_default": 2, "IsDefault": 3},
{"id": 10, "select": 1, "DROP TABLE crm.notes; --": 2, "a\"b": 3, "": 4},
{"id": 11, "_dlt_id": "x", "_dlt_load_id": "y", "_deleted_at": "z", "valid_to": "w"},
{"id": 12, "id ": 13}
""" % ("[" * DEEP + "]" * DEEP)


@pytest.fixture
def odd(sandbox: Sandbox) -> None:
    """Notes that nobody should send."""
    sandbox.fault(Fault("notes", "html", body=f'{{"data": [{ODD_RECORDS}]}}'))


@pytest.mark.usefixtures("odd")
def test_odd_records_are_rows_or_rejected_and_none_is_lost(materialize: Materialize, warehouse: Warehouse) -> None:
    assert materialize(["notes"]).success
    rows = {row[0]: row for row in warehouse.query("SELECT id, subject, answers FROM crm.notes")}
    assert sorted(rows) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert rows[1][1] == "NUL \0 inside"
    assert rows[2][1] == "half an emoji �"
    assert json.loads(rows[3][2]) == {"ratio": "NaN", "top": "Infinity", "bottom": "-Infinity"}
    assert rows[4][2] == "123456789012345678901234567890"
    assert rows[8][1] == "declared"
    assert warehouse.query("SELECT created_time, created_time__v_text FROM crm.notes WHERE id = 6") == [(None, "NaN")]
    assert warehouse.query("SELECT length(deep::VARCHAR) FROM crm.notes WHERE id = 7") == [(2 * DEEP,)]
    rejected = dict(warehouse.query("SELECT record_id, reason FROM crm.rejected_records"))
    assert rejected == {
        "123456789012345678901234567890": "id: 123456789012345678901234567890 does not fit into 64 bits",
    }
    columns = warehouse.columns("notes")
    values = dict(zip(columns, warehouse.query("SELECT * FROM crm.notes WHERE id = 9")[0], strict=True))
    assert sorted(value for name, value in values.items() if name.startswith("is_default")) == [1, 2, 3]
    values = dict(zip(columns, warehouse.query("SELECT * FROM crm.notes WHERE id = 11")[0], strict=True))
    assert values["crm_dlt_id"] == "x"
    assert values["_dlt_load_id"] != "y"
    assert values["_deleted_at"] is None
    assert "z" in values.values()
    values = dict(zip(columns, warehouse.query("SELECT * FROM crm.notes WHERE id = 10")[0], strict=True))
    assert {1, 2, 3, 4} <= set(values.values())


@pytest.mark.usefixtures("odd")
def test_odd_records_have_a_history_too(
    materialize: Materialize, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__NOTES__HISTORY", "true")
    for _ in range(2):
        done = materialize(["notes"])
        assert done.success, failure_of(done)
    assert warehouse.query("SELECT count(*) FROM crm.notes_history") == [(11,)]


def test_thousands_of_new_fields_share_one_column_beyond_the_limit(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__NEW_COLUMNS", "20")
    sandbox.crm.create("notes", {"id": 4711, **{f"field{index}": index for index in range(5_000)}})
    assert materialize(["notes"]).success
    columns = warehouse.columns("notes")
    assert len([name for name in columns if name.startswith("field")]) <= 20
    [(others,)] = warehouse.query("SELECT other_fields FROM crm.notes WHERE id = 4711")
    kept = {name: json.loads(others)[name] for name in json.loads(others)}
    in_columns = dict(zip(columns, warehouse.query("SELECT * FROM crm.notes WHERE id = 4711")[0], strict=True))
    found = kept | {
        name: int(value) for name, value in in_columns.items() if name.startswith("field") and value is not None
    }
    assert found == {f"field{index}": index for index in range(5_000)}
