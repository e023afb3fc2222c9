"""A webhook on loopback that takes what Slack takes, and what Apprise sends to `json://`."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread
from typing import Any

import orjson

_LONGEST = 60.0
"""Seconds."""


class Webhook(HTTPServer):
    """Keeps the bodies that it took; answers with `status`, as soon as `answers` is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, str]] = []
        self.status = 200
        self.answers = Event()
        self.answers.set()

    @property
    def texts(self) -> list[str]:
        """What Slack would show."""
        return [body["text"] for body in self.bodies]

    @property
    def url(self) -> str:
        """Its address, with the part that is a secret."""
        return f"http://127.0.0.1:{self.server_port}/services/T0/s3cr3t"

    @property
    def apprise_url(self) -> str:
        """The same for Apprise."""
        return self.url.replace("http://", "json://")


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.answers.wait(_LONGEST)
        if self.server.status == 200:
            self.server.bodies.append(body)
        self._answer(self.server.status)

    def do_GET(self) -> None:
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Run a webhook while the block lasts."""
    with Webhook() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
