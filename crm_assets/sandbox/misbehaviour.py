"""How each fault looks on the wire."""

import socket
from collections.abc import Callable
from struct import pack
from typing import Final, Protocol, get_args

import orjson

from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.pages import BadEnd

OK: Final = 200
_FOUND: Final = 302
_WITHOUT_BODY: Final = (204, 304)
_HTML: Final = "text/html; charset=utf-8"
_ERROR_PAGE: Final = "<!doctype html><title>Error</title><h1>Error</h1><p>The server is tired. Try again later.</p>"


class Line(Protocol):
    """The connection that a fault is played on."""

    connection: socket.socket
    close_connection: bool

    def answer(
        self, status: int, body: bytes, content_type: str = ..., *, headers: dict[str, str] = ..., length: int = ...
    ) -> None:
        """Send an answer, with `length` as its Content-Length."""

    def send(self, part: bytes) -> None:
        """Send bytes at once."""


def play(fault: Fault, line: Line, page: Callable[[BadEnd | None], bytes], closing: Callable[[], bool]) -> None:  # noqa: PLR0912
    """Answer one request as `fault` has it.

    Args:
        fault: what goes wrong.
        line: where the answer goes.
        page: gives the right answer, or one with a bad cursor.
        closing: whether the sandbox is stopping, so that a held request gets no answer any more.
    """
    match fault.kind:
        case "status":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            body = b"" if fault.status in _WITHOUT_BODY else _text(fault, _ERROR_PAGE)
            line.answer(fault.status, body, _HTML, headers=headers)
        case "html":
            line.answer(OK, _text(fault, _ERROR_PAGE), _HTML)
        case "error_envelope":
            message = "Something went wrong." if fault.body is None else fault.body
            line.answer(OK, orjson.dumps({"error": message}))
        case "null_data":
            line.answer(OK, orjson.dumps(dict.fromkeys(orjson.loads(page(None)))))
        case "half_json":
            body = page(None)
            line.answer(OK, body[: len(body) // 2])
        case "cut_off":
            body = page(None)
            line.answer(OK, body[: len(body) // 2], length=len(body))
            line.close_connection = True
        case "redirect":
            line.answer(_FOUND, b"", headers={"Location": fault.location})
        case "reset":
            _reset(line)
        case "hang":
            fault.release.wait()
            if closing():
                line.close_connection = True
            else:
                line.answer(OK, page(None))
        case "drip":
            _drip(fault, line, page(None))
        case "repeat_cursor" | "extra_cursor":
            line.answer(OK, page(next(end for end in get_args(BadEnd) if end == fault.kind)))


def _text(fault: Fault, usual: str) -> bytes:
    return (usual if fault.body is None else fault.body).encode()


def _reset(line: Line) -> None:
    # A connection that is closed without lingering is reset instead of ended.
    line.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    line.connection.close()
    line.close_connection = True


def _drip(fault: Fault, line: Line, body: bytes) -> None:
    line.answer(OK, b"", length=len(body))
    for place in range(len(body)):
        if fault.release.wait(fault.pause):
            line.send(body[place:])
            return
        line.send(body[place : place + 1])
