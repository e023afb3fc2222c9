"""A server on loopback that answers with a beginning, and then with the same bytes again and again."""

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread


class _Server(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, first: bytes, again: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.first, self.again = first, again
        self.over = Event()


class _Handler(StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        try:
            self.wfile.write(self.server.first)
            while not self.server.over.wait(0.05):
                self.wfile.write(self.server.again)
        except OSError:
            pass  # the client has had enough


@contextmanager
def trickling(first: bytes, again: bytes) -> Iterator[int]:
    """Run the server while the block lasts; yields its port."""
    with _Server(first, again) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.over.set()
            server.shutdown()
