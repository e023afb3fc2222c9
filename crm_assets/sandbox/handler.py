"""One connection with the sandbox: what is asked, by whom, and the answer."""

from base64 import b64decode
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from time import monotonic
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import orjson

from crm_assets.sandbox.api import FORM, HTML, OK, Answer, Api, Call, Request, Withheld
from crm_assets.sandbox.control import Refused, check_origin, control
from crm_assets.sandbox.fault_responses import respond
from crm_assets.sandbox.home import home_page
from crm_assets.sandbox.state import Seen, State

_NO_CONTENT: Final = 204
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
        """Answer with what an API lists, or with the page that tells what this is."""
        body = self._body()
        if body is None or self._is_for_an_api(body):
            return
        path = urlsplit(self.path).path
        if path == "/":
            page = home_page(self.state, f"http://127.0.0.1:{self.connection.getsockname()[1]}")
            self.answer(Answer(OK, page.encode(), HTML))
        else:
            self.send_error(404, f"Nothing is at {path[:80]}; the page at / tells what there is")

    def do_POST(self) -> None:
        """Answer with what an API lists, or change records or faults."""
        body = self._body()
        if body is None or self._is_for_an_api(body):
            return
        path = urlsplit(self.path).path
        try:
            check_origin(cast(Any, self.headers), self.connection.getsockname()[1])
            status, said = control(self.state, self.command, path, body)
            self.answer(Answer(status, orjson.dumps(said)))
        except Refused as refusal:
            said = {"error": str(refusal)} | ({"field": refusal.field} if refusal.field else {})
            self.answer(Answer(refusal.status, orjson.dumps(said)))

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def do_PATCH(self) -> None:
        """Change records."""
        self.do_POST()

    def do_DELETE(self) -> None:
        """Delete records or switch faults off."""
        self.do_POST()

    def answer(self, answer: Answer, *, length: int | None = None) -> None:
        """Send an answer, with `length` as its Content-Length if it is to differ from the body's."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != _NO_CONTENT:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body) if length is None else length))
        self.end_headers()
        self.send(b"" if self.command == "HEAD" else answer.body)

    def send(self, part: bytes) -> None:
        """Send bytes at once."""
        self.wfile.write(part)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error as JSON, also for what the standard library refuses on its own."""
        self.close_connection = True
        said = message or self.responses.get(code, ("error", ""))[0]
        self.answer(Answer(code, orjson.dumps({"error": said}), headers={"Connection": "close"}))

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "crm-assets-sandbox"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Keep quiet: `Sandbox.log` tells what was asked."""

    def _is_for_an_api(self, body: bytes) -> bool:
        """Answer the request if its path is one of an API."""
        request = self._request(body)
        for api in self.state.apis:
            match api.call(request):
                case Call() as call:
                    self._serve(api, call, request)
                    return True
                case Answer() as answer:
                    self.answer(answer)
                    return True
        return False

    def _serve(self, api: Api, call: Call, request: Request) -> None:
        agent, port = self.headers.get("User-Agent", ""), self.client_address[1]
        asked = request.query | request.form
        self.state.note(Seen(call.resource, request.path, asked, agent, port, monotonic()))
        if self.state.latency:
            self.state.closing.wait(self.state.latency)
        try:
            if not self._is_known(self.headers.get("Authorization", "")):
                self.answer(api.refused_login())
            elif fault := self.state.faults.take(call.resource, call.parent):
                respond(fault, self, call)
            else:
                self.answer(call.answer(None))
        except Withheld as held:
            self.state.closing.wait(held.seconds)
            self.close_connection = True

    def _request(self, body: bytes) -> Request:
        url = urlsplit(self.path)
        form = body.decode(errors="replace") if self.headers.get_content_type() == FORM else ""
        return Request(
            "GET" if self.command == "HEAD" else self.command,
            url.path,
            dict(parse_qsl(url.query, keep_blank_values=True)),
            dict(parse_qsl(form, keep_blank_values=True)),
            cast(Any, self.headers),
        )

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
