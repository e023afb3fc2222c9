"""Changing the records and the faults over HTTP, for a sandbox that runs alone."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from crm_assets.sandbox.crm import UnknownRecord
from crm_assets.sandbox.faults import BadFault, Fault
from crm_assets.sandbox.listings import LISTINGS
from crm_assets.sandbox.state import State

PREFIX: Final = "/sandbox/"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """A control request that is not carried out: its status, why, and the field that is wrong if one is."""

    def __init__(self, status: int, why: str, field: str | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.field = field


def check_origin(headers: Mapping[str, str], port: int) -> None:
    """Let programs of this machine through, and no web page: neither a foreign one nor by a rebound name.

    Raises:
        Refused: the request comes from elsewhere.
    """
    host = urlsplit(f"//{headers.get('Host', '')}").hostname
    if host not in _LOOPBACK:
        raise Refused(403, "The sandbox is controlled from this machine only: the Host header is not loopback.")
    origin = headers.get("Origin")
    if origin is not None and origin not in [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]:
        raise Refused(403, "The sandbox is not controlled by web pages: the Origin header is a foreign one.")


def control(state: State, method: str, path: str, body: bytes) -> tuple[int, Any]:
    """Carry out one control request; return the status and what to say.

    Raises:
        Refused: it cannot be carried out.
    """
    if not path.startswith(PREFIX):
        raise Refused(404, f"{method} does nothing at {path[:80]}")
    parts = [unquote(part) for part in path.removeprefix(PREFIX).split("/")]
    if parts == ["faults"]:
        return _faults(state, method, body)
    resource = parts[0]
    if resource not in LISTINGS:
        raise Refused(404, f"resource: unknown resource {resource[:40]!r}; known: {', '.join(LISTINGS)}", "resource")
    try:
        if method == "POST" and len(parts) == 1:
            return 201, state.crm.create(resource, _object(body) if body else None)
        if method == "PATCH" and len(parts) == 2:
            return 200, state.crm.update(resource, parts[1], **_object(body))
        if method == "DELETE" and len(parts) == 2:
            state.crm.delete(resource, parts[1])
            return 200, {"deleted": parts[1]}
    except UnknownRecord as error:
        raise Refused(404, f"id: {error}", "id") from None
    raise _no_such(method)


def _faults(state: State, method: str, body: bytes) -> tuple[int, Any]:
    if method == "DELETE":
        state.faults.clear()
        return 200, {"faults": []}
    if method != "POST":
        raise _no_such(method)
    try:
        state.faults.arm(Fault.of(_object(body)))
    except BadFault as error:
        raise Refused(400, str(error), error.field) from None
    return 201, {"faults": [str(fault) for fault in state.faults.on()]}


def _no_such(method: str) -> Refused:
    return Refused(405, f"{method} does nothing here; see the page at /")


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"body: not JSON ({error})", "body") from None
    if not isinstance(parsed, dict):
        raise Refused(400, f"body: an object is needed, not {type(parsed).__name__}", "body")
    return parsed
