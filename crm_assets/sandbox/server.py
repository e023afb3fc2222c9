"""The sandbox as a server on loopback, for a test or for the life of a process."""

import errno
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from crm_assets.sandbox.agilecrm.api import DEFAULT_CUT, AgileCrm
from crm_assets.sandbox.agilecrm.relations import Relations
from crm_assets.sandbox.api import API_NAMES, Api, ApiName
from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.handler import SandboxHandler
from crm_assets.sandbox.listings import counts_with
from crm_assets.sandbox.records import World
from crm_assets.sandbox.state import Seen, State
from crm_assets.sandbox.v1 import V1

HOST: Final = "127.0.0.1"
DEFAULT_SEED: Final = 1
EMAIL: Final = "sandbox@example.com"
API_KEY: Final = "sandbox-key"
"""The usual login. Public: it opens nothing but made-up records on this machine."""
_LAST_PORT: Final = 65_535
_POLL: Final = 0.02
"""Seconds in which it notices that it is to stop."""


class Sandbox:
    """A CRM on loopback while the `with` block lasts.

    Args:
        counts: records per resource, where they differ from `listings.DEFAULT_COUNTS`.
        seed: two sandboxes with one seed hold the same records.
        latency: seconds before each listing is answered.
        port: where it listens; 0 for any free port.
        email: username of the login.
        api_key: password of the login.
        undeclared: whether some records carry fields that no model declares.
        api: the only API that it serves; both, over the same records, unless told otherwise.
        cut: seconds after which `agilecrm` cuts off a request that a fault holds, or whose page is too large.

    Attributes:
        crm: the records, for changing them.

    Raises:
        ValueError: an argument that cannot be; names it.
        OSError: on entry, if the port is taken; names it.
    """

    def __init__(
        self,
        counts: Mapping[str, int] | None = None,
        *,
        seed: int = DEFAULT_SEED,
        latency: float = 0.0,
        port: int = 0,
        email: str = EMAIL,
        api_key: str = API_KEY,
        undeclared: bool = True,
        api: ApiName | None = None,
        cut: float = DEFAULT_CUT,
    ) -> None:
        if not 0 <= port <= _LAST_PORT:
            raise ValueError(f"port: {port} is not a port, 0 to {_LAST_PORT}")
        if api is not None and api not in API_NAMES:
            raise ValueError(f"api: unknown API {api!r}; known: {', '.join(API_NAMES)}")
        self.crm = SandboxCrm(World(seed, counts_with(counts), undeclared))
        self._agilecrm = AgileCrm(self.crm, cut)
        apis: dict[ApiName, Api] = {"v1": V1(self.crm), "agilecrm": self._agilecrm}
        served = [apis[api]] if api else list(apis.values())
        self._state = State(self.crm, email, api_key, (email, api_key) == (EMAIL, API_KEY), latency, served)
        self._port = port
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        try:
            self._server = _Server(self._port, self._state)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                why = f"port {self._port} on {HOST} cannot be used ({error.strerror}); choose another, or 0 for any"
                raise OSError(error.errno, why) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.stop()

    @property
    def port(self) -> int:
        """Port on which it listens."""
        return self._port if self._server is None else int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        """Address to give to a client."""
        return f"http://{HOST}:{self.port}"

    @property
    def requests(self) -> Counter[str]:
        """Number of requests per resource so far, also those that were refused or spoiled."""
        return self._state.requests.copy()

    @property
    def log(self) -> list[Seen]:
        """The latest requests, oldest first."""
        return list(self._state.log)

    @property
    def relations(self) -> Relations:
        """Below which contacts, deals and ticket filters `agilecrm` lists notes, documents and tickets."""
        return self._agilecrm.relations

    def reachable(self, resource: str) -> Iterator[Any]:
        """Return the records that `agilecrm` can deliver as they stand now, without the list's `cursor` and `count`.

        Of notes, documents and tickets only those that are found below another record, of events those with a start.
        """
        return self._agilecrm.reachable(resource)

    def fault(self, fault: Fault | str) -> Fault:
        """Switch a fault on, given as such or in the words of `Fault.parse`; return it."""
        fault = Fault.parse(fault) if isinstance(fault, str) else fault
        self._state.faults.arm(fault)
        return fault

    def clear_faults(self) -> None:
        """Switch every fault off; requests that one holds are answered."""
        self._state.faults.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits only for others
    request_queue_size = 128

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), SandboxHandler)
        self._accepting = Thread(target=self.serve_forever, args=(_POLL,), name="sandbox", daemon=True)
        self._accepting.start()

    def server_bind(self) -> None:
        """Bind without asking the name service what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def stop(self) -> None:
        """End every connection; return when no thread is left."""
        self.state.closing.set()
        self.state.faults.close()
        self.shutdown()
        self._accepting.join()
        for connection in list(self._open):
            with suppress(OSError):  # the client may have been quicker
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End one connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that hang up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
