"""One connection with the sandbox: what is asked, by whom, and the answer."""

from base64 import b64decode
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import orjson

from crm_assets.sandbox.control import Refused, check_origin, control
from crm_assets.sandbox.crm import BadCursor
from crm_assets.sandbox.fault_responses import OK, respond
from crm_assets.sandbox.home import home_page
from crm_assets.sandbox.listings import BY_PATH, Listing
from crm_assets.sandbox.state import Seen, State

_JSON: Final = "application/json"
_MOST_BODY: Final = 16 << 20


class SandboxHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # so that the head and the body of an answer leave together
    state: State

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        self.state = cast(Any, server).state
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        """Answer with a listing, or with the page that tells what this is."""
        url = urlsplit(self.path)
        if self._body() is None:
            return
        if listing := BY_PATH.get(url.path):
            self._list(listing, dict(parse_qsl(url.query, keep_blank_values=True)))
        elif url.path == "/":
            page = home_page(self.state, f"http://127.0.0.1:{self.connection.getsockname()[1]}")
            self.answer(OK, page.encode(), "text/html; charset=utf-8")
        else:
            self.send_error(404, f"Nothing is at {url.path[:80]}; the page at / tells what there is")

    def do_POST(self) -> None:
        """Change records or faults."""
        body = self._body()
        if body is None:
            return
        path = urlsplit(self.path).path
        try:
            check_origin(cast(Any, self.headers), self.connection.getsockname()[1])
            status, said = control(self.state, self.command, path, body)
            self.answer(status, orjson.dumps(said))
        except Refused as refusal:
            said = {"error": str(refusal)} | ({"field": refusal.field} if refusal.field else {})
            self.answer(refusal.status, orjson.dumps(said))

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def do_PATCH(self) -> None:
        """Change records."""
        self.do_POST()

    def do_DELETE(self) -> None:
        """Delete records or switch faults off."""
        self.do_POST()

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: str = _JSON,
        *,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send an answer, with `length` as its Content-Length if it is to differ from the body's."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.send(b"" if self.command == "HEAD" else body)

    def send(self, part: bytes) -> None:
        """Send bytes at once."""
        self.wfile.write(part)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error as JSON, also for what the standard library refuses on its own."""
        self.close_connection = True
        said = message or self.responses.get(code, ("error", ""))[0]
        self.answer(code, orjson.dumps({"error": said}), headers={"Connection": "close"})

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "crm-assets-sandbox"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Keep quiet: `Sandbox.log` tells what was asked."""

    def _list(self, listing: Listing, query: dict[str, str]) -> None:
        port = self.client_address[1]
        self.state.note(Seen(listing.resource, query, self.headers.get("User-Agent", ""), port))
        if self.state.latency:
            self.state.closing.wait(self.state.latency)
        if not self._is_known(self.headers.get("Authorization", "")):
            self.answer(
                401,
                orjson.dumps({"error": "Login refused: e-mail or API key is wrong."}),
                headers={"WWW-Authenticate": 'Basic realm="sandbox", charset="UTF-8"'},
            )
            return
        limit, cursor = listing.limit, None
        if listing.cursor_param is not None:
            asked = query.get("limit", str(limit))
            limit = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
            if limit < 1:
                self.answer(400, orjson.dumps({"error": "limit: not a number from 1", "field": "limit"}))
                return
            cursor = query.get(listing.cursor_param) or None

        def page(kind: str | None = None) -> bytes:
            return self.state.pages.page(listing, cursor, limit, kind)

        try:
            if fault := self.state.faults.take(listing.resource):
                respond(fault, self, page)
            else:
                self.answer(OK, page())
        except BadCursor as error:
            self.answer(500, orjson.dumps({"error": str(error)}))

    def _is_known(self, login: str) -> bool:
        scheme, _, sent = login.partition(" ")
        try:
            given = b64decode(sent.strip(), validate=True)
        except ValueError:
            return False
        wanted = f"{self.state.email}:{self.state.api_key}"
        # Clients write a login in UTF-8 or, as `requests` does with text, in Latin-1.
        return scheme.lower() == "basic" and given in (wanted.encode(), wanted.encode("latin-1", "backslashreplace"))

    def _body(self) -> bytes | None:
        """Return what was sent with the request, so that the next one on the connection is found."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.send_error(411, "A body needs a Content-Length")
        elif int(length) > _MOST_BODY:
            self.send_error(413, f"A body has at most {_MOST_BODY} bytes")
        else:
            return self.rfile.read(int(length))
        return None
