"""A listing of millions of small records, made as it is asked for, and the API file that describes it.

    python -m benchmarks.large [--rows 5000000] [--changed 100]

Listens on a free port, prints its address, and serves until its standard input ends. With `--changed`, every so-many-th
record has another value than without.
"""

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import PIPE, Popen
from typing import Final
from urllib.parse import parse_qs, urlsplit

import orjson

PAGE: Final = 1_000
"""Records on a page."""
API: Final = f"""
client:
  auth: {{type: http_basic, username: "{{{{ dlt.secrets.email }}}}", password: "{{{{ dlt.secrets.api_key }}}}"}}
resources:
  - name: readings
    primary_key: id
    write_disposition: merge
    endpoint:
      path: readings
      data_selector: readings
      paginator: {{type: offset, limit: {PAGE}, total_path: total}}
"""


def page(start: int, rows: int, changed: int) -> bytes:
    """Return the records from `start` on."""
    records = [
        {
            "id": number,
            "sensor": f"sensor-{number % 977}",
            "unit": "celsius",
            "value": (number * 7919 % 100_003) / 100 + (0.5 if changed and number % changed == 0 else 0.0),
            "taken": f"2026-01-{1 + number % 28:02}T12:00:00Z",
        }
        for number in range(start, min(start + PAGE, rows))
    ]
    return orjson.dumps({"total": rows, "readings": records})


class _Connection(asyncio.Protocol):
    def __init__(self, rows: int, changed: int) -> None:
        self._rows, self._changed = rows, changed
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            query = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)
            body = page(int(query.get("offset", ["0"])[0]), self._rows, self._changed)
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            self._transport.write(f"HTTP/1.1 200 OK\r\n{kind}\r\n\r\n".encode() + body)  # type: ignore[attr-defined]


async def _serve(rows: int, changed: int) -> None:
    server = await asyncio.get_running_loop().create_server(partial(_Connection, rows, changed), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def large_listing(rows: int, changed: int) -> Iterator[str]:
    """Serve in a process of its own while the block lasts; yield the address."""
    command = [sys.executable, "-m", "benchmarks.large", f"--rows={rows}", f"--changed={changed}"]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--changed", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(_serve(given.rows, given.changed))


if __name__ == "__main__":
    main()
