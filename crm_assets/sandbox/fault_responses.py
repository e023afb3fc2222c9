"""How each fault looks on the wire."""

import socket
from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING, Final

import orjson

from crm_assets.sandbox.faults import Fault

if TYPE_CHECKING:
    from crm_assets.sandbox.handler import SandboxHandler

OK: Final = 200
_FOUND: Final = 302
_WITHOUT_BODY: Final = (204, 304)
_HTML: Final = "text/html; charset=utf-8"
_ERROR_PAGE: Final = "<!doctype html><title>Error</title><h1>Error</h1><p>The server is tired. Try again later.</p>"


def respond(fault: Fault, to: "SandboxHandler", page: Callable[[str | None], bytes]) -> None:  # noqa: PLR0912
    """Answer one request as `fault` has it.

    Args:
        fault: what goes wrong.
        to: the connection that the answer goes to.
        page: gives the right answer, or one with the bad cursor of a kind of fault.
    """
    match fault.kind:
        case "status":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            body = b"" if fault.status in _WITHOUT_BODY else _text(fault, _ERROR_PAGE)
            to.answer(fault.status, body, _HTML, headers=headers)
        case "html":
            to.answer(OK, _text(fault, _ERROR_PAGE), _HTML)
        case "error_envelope":
            message = "Something went wrong." if fault.body is None else fault.body
            to.answer(OK, orjson.dumps({"error": message}))
        case "null_data":
            to.answer(OK, orjson.dumps(dict.fromkeys(orjson.loads(page(None)))))
        case "half_json":
            body = page(None)
            to.answer(OK, body[: len(body) // 2])
        case "cut_off":
            body = page(None)
            to.answer(OK, body[: len(body) // 2], length=len(body))
            to.close_connection = True
        case "redirect":
            to.answer(_FOUND, b"", headers={"Location": fault.location})
        case "reset":
            _reset(to)
        case "hang":
            fault.release.wait()
            if to.state.closing.is_set():
                to.close_connection = True
            else:
                to.answer(OK, page(None))
        case "drip":
            _drip(fault, to, page(None))
        case "repeat_cursor" | "extra_cursor":
            to.answer(OK, page(fault.kind))


def _text(fault: Fault, usual: str) -> bytes:
    return (usual if fault.body is None else fault.body).encode()


def _reset(to: "SandboxHandler") -> None:
    # A connection that is closed without lingering is reset instead of ended.
    to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    to.connection.close()
    to.close_connection = True


def _drip(fault: Fault, to: "SandboxHandler", body: bytes) -> None:
    to.answer(OK, b"", length=len(body))
    for place in range(len(body)):
        if fault.release.wait(fault.pause):
            to.send(body[place:])
            return
        to.send(body[place : place + 1])
