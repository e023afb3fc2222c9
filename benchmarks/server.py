"""The API as a server that is never what a peer waits for: each page is bytes before the first request.

    python -m benchmarks.server FOLDER [--records 37500] [--contacts 20000] [--latency 0 --latency 0.02]

Writes into FOLDER what the API's guide says (api.json) and what must land (expected.json), listens once for each
latency, prints what it serves as one line of JSON, and serves until its standard input ends.
"""

import asyncio
import sys
from argparse import ArgumentParser
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final
from urllib.parse import parse_qs, urlsplit

import orjson

from benchmarks.work import API_KEY, EMAIL, RECORDS, counts_of, crm_of, described, expected, pages_of

LIMIT: Final = "100"
"""Records per page; no other number is served."""
_LOGIN: Final = b"Basic " + b64encode(f"{EMAIL}:{API_KEY}".encode())


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_REFUSED: Final = _response("401 Unauthorized", b'{"error": "login"}')
_UNKNOWN: Final = _response("404 Not Found", b'{"error": "no such page"}')


class Connection(asyncio.Protocol):
    """One connection: answers GET requests, one after the other, each after `latency` seconds."""

    def __init__(self, pages: dict[tuple[str, str], bytes], latency: float) -> None:
        self._pages = pages
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._send, self._answer(head))
            else:
                self._send(self._answer(head))

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)  # type: ignore[attr-defined] # of a stream, which this one is

    def _answer(self, head: bytes) -> bytes:
        first, *lines = head.split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if fields.get(b"authorization") != _LOGIN:
            return _REFUSED
        address = urlsplit(first.split(b" ")[1].decode())
        query = parse_qs(address.query)
        if query.get("limit", [LIMIT]) != [LIMIT]:
            return _UNKNOWN
        return self._pages.get((address.path, query.get("cursor", [""])[0]), _UNKNOWN)


@dataclass(frozen=True)
class Served:
    """What a running server has.

    Attributes:
        urls: its addresses, in the order of the latencies.
        requests: how many pages there are.
        bytes: how many bytes of JSON they are together.
    """

    urls: list[str]
    requests: int
    bytes: int


async def serve(pages: dict[tuple[str, str], bytes], latencies: Sequence[float]) -> None:
    """Serve the pages on one free port for each latency until standard input ends."""
    loop = asyncio.get_running_loop()
    urls = []
    for latency in latencies:
        server = await loop.create_server(partial(Connection, pages, latency), "127.0.0.1", 0)
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    print(orjson.dumps(Served(urls, len(pages), sum(map(len, pages.values())))).decode(), flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def served(folder: Path, records: int, latencies: Sequence[float], *, contacts: int | None = None) -> Iterator[Served]:
    """Run the server in a process of its own while the block lasts; see `counts_of`."""
    options = [f"--latency={latency}" for latency in latencies]
    options += [] if contacts is None else [f"--contacts={contacts}"]
    command = [sys.executable, "-m", "benchmarks.server", str(folder), f"--records={records}", *options]
    with Popen(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Served(**orjson.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--contacts", type=int)
    parser.add_argument("--latency", type=float, action="append")
    given = parser.parse_args()
    crm = crm_of(counts_of(given.records, given.contacts))
    pages = {(path, cursor): _response("200 OK", body) for path, cursor, body in pages_of(crm)}
    (given.folder / "api.json").write_bytes(orjson.dumps(described()))
    (given.folder / "expected.json").write_bytes(orjson.dumps(expected(crm)))
    asyncio.run(serve(pages, given.latency or [0.0]))


if __name__ == "__main__":
    main()
