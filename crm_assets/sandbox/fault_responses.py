"""How each fault looks on the wire."""

import socket
from struct import pack
from typing import TYPE_CHECKING, Final

import orjson

from crm_assets.sandbox.api import HTML, OK, Answer, Call, Withheld
from crm_assets.sandbox.faults import Fault

if TYPE_CHECKING:
    from crm_assets.sandbox.handler import SandboxHandler

_FOUND: Final = 302
_WITHOUT_BODY: Final = (204, 304)
_ERROR_PAGE: Final = "<!doctype html><title>Error</title><h1>Error</h1><p>The server is tired. Try again later.</p>"


def respond(fault: Fault, to: "SandboxHandler", call: Call) -> None:
    """Answer one request as `fault` has it.

    Args:
        fault: what goes wrong.
        to: the connection that the answer goes to.
        call: what is asked.

    Raises:
        Withheld: there is no answer.
    """
    match fault.kind:
        case "status":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            body = b"" if fault.status in _WITHOUT_BODY else _text(fault, _ERROR_PAGE)
            to.answer(Answer(fault.status, body, HTML, headers))
        case "html":
            to.answer(Answer(OK, _text(fault, _ERROR_PAGE), HTML))
        case "error_envelope":
            message = "Something went wrong." if fault.body is None else fault.body
            to.answer(Answer(OK, orjson.dumps({"error": message})))
        case "half_json":
            to.answer(_half(call.answer(fault.kind)))
        case "cut_off":
            whole = call.answer(fault.kind)
            to.answer(_half(whole), length=len(whole.body))
            to.close_connection = True
        case "redirect":
            to.answer(Answer(_FOUND, b"", headers={"Location": fault.location}))
        case "reset":
            _reset(to)
        case "hang":
            if not fault.release.wait(call.cut) or to.state.closing.is_set():
                raise Withheld
            to.answer(call.answer(None))
        case "drip":
            _drip(fault, to, call.answer(None))
        case "null_data" | "repeat_cursor" | "extra_cursor":
            to.answer(call.answer(fault.kind))


def _half(answer: Answer) -> Answer:
    return answer._replace(body=answer.body[: len(answer.body) // 2])


def _text(fault: Fault, usual: str) -> bytes:
    return (usual if fault.body is None else fault.body).encode()


def _reset(to: "SandboxHandler") -> None:
    # A connection that is closed without lingering is reset instead of ended.
    to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    to.connection.close()
    to.close_connection = True


def _drip(fault: Fault, to: "SandboxHandler", answer: Answer) -> None:
    body = answer.body
    to.answer(answer._replace(body=b""), length=len(body))
    for place in range(len(body)):
        if fault.release.wait(fault.pause):
            to.send(body[place:])
            return
        to.send(body[place : place + 1])
