"""A made-up shop on loopback: an API with the pagination, logins and children that v1 does not have.

`python -m crm_assets_tests.shop --help` runs it in a process of its own; `shop_process` does so for a test.
"""

import argparse
import math
import re
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from socketserver import TCPServer
from threading import Event, Lock, Thread
from time import monotonic, sleep, time
from types import TracebackType
from typing import IO, Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

import orjson

from crm_assets_tests.shop_records import PARENTS, Record, Records

CONFIG = Path(__file__).with_name("shop.yaml")
"""The shop in the words of dlt's `rest_api`."""
PAGE = 10
"""Records per page, unless the request says otherwise."""
TOKEN, USER, PASSWORD = "t0ken/with+signs=", "clerk@example.com", "pass:wörd"
LOGINS: Mapping[str, dict[str, str]] = {
    "bearer": {"type": "bearer", "token": TOKEN},
    "basic": {"type": "http_basic", "username": USER, "password": PASSWORD},
    "header": {"type": "api_key", "name": "X-Api-Key", "api_key": TOKEN, "location": "header"},
    "query": {"type": "api_key", "name": "key", "api_key": TOKEN, "location": "query"},
    "cookie": {"type": "api_key", "name": "session", "api_key": TOKEN, "location": "cookie"},
    "oauth2": {
        "type": "oauth2_client_credentials",
        "access_token_url": "/oauth/token",
        "client_id": USER,
        "client_secret": PASSWORD,
    },
}
"""How a client logs in, in dlt's words, by the value of `Shop.login`; `Shop.config` completes the address."""


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The body as a form, empty if it is none."""
        is_form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        return dict(parse_qsl(self.body.decode())) if is_form else {}

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object, empty if it is none."""
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        return dict(orjson.loads(self.body)) if is_json else {}

    def number(self, name: str, usual: int) -> int:
        """Return a parameter of the query as a number."""
        return int(self.query.get(name, usual))


@dataclass(frozen=True)
class Answer:
    """What a request is answered with: a value to be sent as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of a listing."""

    request: Request
    records: list[Record]
    start: int
    size: int
    total: int

    @property
    def next(self) -> int | None:
        """Where the next page begins; None if this is the last."""
        return self.start + self.size if self.start + self.size < self.total else None

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return self.start // self.size + 1

    def link(self, start: int) -> str:
        """Return the address of the page that begins at `start`."""
        return f"http://{self.request.headers['Host']}{self.request.path}?start={start}"


@dataclass(frozen=True)
class Listing:
    """How a listing pages: where a request's page begins, and how it is answered."""

    start: Callable[[Request], int]
    answer: Callable[[Page], Answer]
    method: str = "GET"
    size: int | None = PAGE
    """Records per page, for requests without `limit`; None for all in one."""


def _offset(request: Request) -> int:
    return request.number("offset", 0)


def _first(_: Request) -> int:
    return 0


def _opened(cursor: str) -> int:
    return int(b64decode(cursor, validate=True).decode().removeprefix("from:")) if cursor else 0


def _cursor(start: int | None) -> str | None:
    return None if start is None else b64encode(f"from:{start}".encode()).decode()


def _with_next(page: Page) -> Answer:
    link = None if page.next is None else page.link(page.next)
    if link and page.number % 2 == 0:
        link = link.removeprefix(f"http://{page.request.headers['Host']}")  # relative
    return Answer({"results": page.records, "next": link})


def _with_link(page: Page) -> Answer:
    links = [f'<{page.link(max(page.start - page.size, 0))}>; rel="prev"'] if page.start else []
    links += [] if page.next is None else [f'<{page.link(page.next)}>; rel="next"']
    return Answer(page.records, headers={"Link": ", ".join(links)} if links else {})


def _with_next_cursor(page: Page) -> Answer:
    headers = {} if page.next is None else {"X-Next-Cursor": _cursor(page.next) or ""}
    return Answer({"shipments": page.records}, headers=headers)


def _found(page: Page) -> Answer:
    if page.request.json.get("query") != "*":
        return Answer({"error": "The body needs a query."}, 400)
    return Answer({"hits": page.records, "has_more": page.next is not None})


def _exported(page: Page) -> Answer:
    if page.request.form != {"format": "full"}:
        return Answer({"error": "Which format?"}, 400)
    return Answer(page.records)


def _addresses(page: Page) -> Answer:
    return Answer({"addresses": page.records}) if page.records else Answer({"error": "No address."}, 404)


LISTINGS = {
    "products": Listing(_offset, lambda page: Answer({"total": page.total, "items": page.records})),
    "orders": Listing(
        lambda request: (request.number("page", 1) - 1) * PAGE,
        lambda page: Answer({"orders": page.records, "pages": math.ceil(page.total / page.size)}),
    ),
    "customers": Listing(lambda request: request.number("start", 0), _with_next),
    "invoices": Listing(lambda request: request.number("start", 0), _with_link),
    "payments": Listing(
        lambda request: _opened(request.query.get("after", "")),
        lambda page: Answer({"data": page.records, "meta": {"next_cursor": _cursor(page.next)}}),
    ),
    "shipments": Listing(lambda request: _opened(request.query.get("cursor", "")), _with_next_cursor),
    "search": Listing(lambda request: (request.json["page"] - 1) * PAGE, _found, "POST"),
    "exports": Listing(_first, _exported, "POST", None),
    "settings": Listing(_first, lambda page: Answer(page.records[0]), size=None),
    "stores": Listing(
        _offset, lambda page: Answer({"stores": page.records, "has_more": page.next is not None}), size=500
    ),
    "addresses": Listing(_first, _addresses, size=None),
    "lines": Listing(_offset, lambda page: Answer({"lines": page.records, "total": page.total})),
    "stock": Listing(_first, lambda page: Answer(page.records), size=None),
}
"""Every listing. Those of `PARENTS` are at `/<parent>/<key>/<listing>`, the others at `/<listing>`."""


@dataclass
class Fault:
    """Something that goes wrong with a listing."""

    listing: str
    spoil: Callable[[Answer], Answer]
    from_page: int
    left: int | None
    """How many requests are spoiled; None for all."""
    parent: str | None
    release: Event | None = None
    """What the request waits for, before it is answered."""
    reached: Event = field(default_factory=Event)
    """Set as soon as one request is spoiled."""


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    query: dict[str, str]
    listing: str | None


class Shop:
    """The shop, as a server while the `with` block lasts.

    Args:
        latency: seconds from each request to its answer.
        counts: how many records, by listing, where they differ from `shop_records.COUNTS`; of a listing of
            `PARENTS` how many each parent has.
        login: how clients log in: one of `LOGINS`.
        token_requests: how many requests a token of `oauth2` opens before it expires.
        port: where it listens; 0 for any free port.

    Attributes:
        records: the records, for looking at them and changing them.
        log: the requests so far, oldest first, without those to `/control`.
    """

    def __init__(
        self,
        latency: float = 0.0,
        *,
        counts: dict[str, int] | None = None,
        login: str = "bearer",
        token_requests: int = 1_000_000,
        port: int = 0,
    ) -> None:
        self.latency = latency
        self.login = login
        self.records = Records(counts)
        self.log: deque[Seen] = deque(maxlen=100_000)
        self._token_requests = token_requests
        self._tokens: dict[str, int] = {}
        self._faults: list[Fault] = []
        self._releases: list[Event] = []
        self._lock = Lock()
        self._server = _Server(port, self)

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), name="shop", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._server.stop()

    @property
    def base_url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def config(self) -> dict[str, Any]:
        """Return what `shop.yaml` says, with this shop's address and login."""
        from dagster_shared.yaml_utils import safe_load_yaml  # the shop's own process does without

        text = CONFIG.read_text(encoding="utf-8").replace("{{ dlt.secrets.token }}", TOKEN)
        config: dict[str, Any] = safe_load_yaml(text)
        config["client"]["base_url"] = self.base_url
        if self.login != "bearer":
            config["client"]["auth"] = dict(LOGINS[self.login])
        if self.login == "oauth2":
            config["client"]["auth"]["access_token_url"] = f"{self.base_url}/oauth/token"
        return config

    def spoil(
        self,
        listing: str,
        answer: Callable[[Answer], Answer],
        *,
        from_page: int = 1,
        times: int | None = None,
        parent: Any = None,
        release: Event | None = None,
    ) -> Fault:
        """Answer requests of a listing with something else.

        Args:
            listing: name of the listing.
            answer: takes the right answer, and returns the other.
            from_page: the first page that is spoiled, from 1.
            times: how many requests are; None for all until `heal`.
            parent: key of the record whose children alone are spoiled.
            release: what they wait for first, or until the client is gone; `heal` sets it, too.
        """
        fault = Fault(listing, answer, from_page, times, None if parent is None else str(parent), release)
        with self._lock:
            self._faults.append(fault)
            if release:
                self._releases.append(release)
        return fault

    def fail(self, listing: str, status: int = 503, retry_after: str | None = None, **where: Any) -> Fault:
        """Answer requests of a listing with an error; `where` as `spoil` has it."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return self.spoil(listing, lambda _: Answer({"error": "On purpose."}, status, headers), **where)

    def hang(self, listing: str, **where: Any) -> Fault:
        """Let requests of a listing wait until `release` of the fault is set, or the client is gone."""
        return self.spoil(listing, lambda right: right, release=Event(), **where)

    def heal(self) -> None:
        """End all faults, and answer what waits."""
        with self._lock:
            for release in self._releases:
                release.set()
            self._releases.clear()
            self._faults.clear()

    def answer(self, request: Request, is_gone: Callable[[], bool]) -> Answer:
        """Return the answer to a request. `is_gone` says whether its client waits no more."""
        if request.path == "/control/log":
            return self._tell_log(request.method)
        path = request.path.strip("/").split("/")
        name, parent = (path[0], None) if len(path) == 1 else (path[-1], path[1])
        listing = LISTINGS.get(name) if len(path) == (3 if name in PARENTS else 1) else None
        self.log.append(Seen(time(), request.method, request.path, request.query, name if listing else None))
        if request.path == "/oauth/token":
            return self._give_token(request)
        if not self._is_known(request):
            return Answer({"error": "Who are you?"}, 401)
        if not listing or (name in PARENTS and PARENTS[name][0] != path[0]):
            return Answer({"error": "There is no such listing."}, 404)
        return self._list(name, parent, request, is_gone)

    def _list(self, name: str, parent: str | None, request: Request, is_gone: Callable[[], bool]) -> Answer:
        listing = LISTINGS[name]
        if request.method != listing.method:
            return Answer({"error": f"Use {listing.method}."}, 405)
        try:
            page = self._page(name, parent, request)
        except (ValueError, KeyError, TypeError) as error:
            return Answer({"error": f"{type(error).__name__}: {error}"}, 400)
        if page is None:
            return Answer({"error": "There is no such record."}, 404)
        right = listing.answer(page)
        fault = self._fault(name, parent, page.number)
        if not fault:
            return right
        fault.reached.set()
        while fault.release and not fault.release.wait(0.02) and not is_gone():
            pass
        return fault.spoil(right)

    def _page(self, name: str, parent: str | None, request: Request) -> Page | None:
        records = self.records.listed(name, parent)
        if records is None:
            return None
        for parameter, keeps in (("updated_after", _not_before), ("updated_before", _before)):
            if name == "orders" and parameter in request.query:
                moment = datetime.fromisoformat(request.query[parameter])
                records = [record for record in records if keeps(record, moment)]
        size, start = LISTINGS[name].size or max(len(records), 1), LISTINGS[name].start(request)
        size = min(request.number("limit", size), 500)
        if size < 1 or start < 0:
            raise ValueError("no such page")
        return Page(request, records[start : start + size], start, size, len(records))

    def _fault(self, name: str, parent: str | None, number: int) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.listing == name and fault.parent in (None, parent) and number >= fault.from_page:
                    if fault.left is not None:
                        fault.left -= 1
                        if not fault.left:
                            self._faults.remove(fault)
                    return fault
        return None

    def _is_known(self, request: Request) -> bool:
        sent = request.headers.get("Authorization", "")
        match self.login:
            case "basic":
                return sent == "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            case "header":
                return request.headers.get("X-Api-Key") == TOKEN
            case "query":
                return request.query.get("key") == TOKEN
            case "cookie":
                cookie = SimpleCookie(request.headers.get("Cookie", "")).get("session")
                return cookie is not None and cookie.value == TOKEN
            case "oauth2":
                token = sent.removeprefix("Bearer ")
                with self._lock:
                    self._tokens[token] = self._tokens.get(token, 0) - 1
                    return self._tokens[token] >= 0
        return sent == f"Bearer {TOKEN}"

    def _give_token(self, request: Request) -> Answer:
        wanted = {"grant_type": "client_credentials", "client_id": USER, "client_secret": PASSWORD}
        if self.login != "oauth2" or request.method != "POST" or not wanted.items() <= request.form.items():
            return Answer({"error": "invalid_client"}, 401)
        token = token_hex(8)
        with self._lock:
            self._tokens[token] = self._token_requests
        return Answer({"access_token": token, "token_type": "bearer", "expires_in": 3600})

    def _tell_log(self, method: str) -> Answer:
        seen = [asdict(one) for one in list(self.log)]
        if method == "DELETE":
            self.log.clear()
        return Answer(seen)


def _not_before(record: Record, moment: datetime) -> bool:
    return datetime.fromisoformat(record["updated_at"]) >= moment


def _before(record: Record, moment: datetime) -> bool:
    return datetime.fromisoformat(record["updated_at"]) < moment


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # so that the head and the body of an answer leave together
    server: "_Server"

    def parse_request(self) -> bool:
        self._began = monotonic()
        return super().parse_request()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request = Request(self.command, url.path, query, cast(Mapping[str, str], self.headers), body)
        answer = self.server.shop.answer(request, self._is_gone)
        data = orjson.dumps(answer.body)
        sleep(max(0.0, self._began + self.server.shop.latency - monotonic()))
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing: `Shop.log` tells."""

    def _is_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits only for others
    request_queue_size = 128

    def __init__(self, port: int, shop: Shop) -> None:
        self.shop = shop
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service what this machine is called."""
        TCPServer.server_bind(self)

    def stop(self) -> None:
        """End every connection; return when no thread is left."""
        self.shutdown()
        for connection in list(self._open):
            with suppress(OSError):  # the client may have been quicker
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that hang up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def shop_process(*arguments: str) -> Iterator[str]:
    """Run a shop in a process of its own while the block lasts; yield its address.

    Args:
        arguments: of the command line, such as `--latency=0.02`, `--count=stores=2000`.
    """
    command = [sys.executable, "-m", "crm_assets_tests.shop", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        yield stdout.readline().strip()
        stdin.close()


def _count(text: str) -> tuple[str, int]:
    name, number = re.fullmatch(r"(\w+)=(\d+)", text).groups()  # type: ignore[union-attr]
    return name, int(number)


def main() -> None:
    """Run a shop until standard input ends, and print its address."""
    parser = argparse.ArgumentParser(prog="python -m crm_assets_tests.shop", description=main.__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from each request to its answer")
    parser.add_argument("--count", type=_count, action="append", default=[], help="such as stores=2000")
    parser.add_argument("--login", choices=LOGINS, default="bearer")
    parser.add_argument("--token-requests", type=int, default=1_000_000, help="requests until a token expires")
    parser.add_argument("--port", type=int, default=0)
    given = vars(parser.parse_args())
    with Shop(**{name: value for name, value in given.items() if name != "count"}, counts=dict(given["count"])) as shop:
        print(shop.base_url, flush=True)  # noqa: T201 - a program waits for it
        sys.stdin.read()


if __name__ == "__main__":
    main()
