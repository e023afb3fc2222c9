"""The sandbox that is up already, or else one of our own for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException

from crm_assets.sandbox.process import sandbox_process

_PATIENCE = 2.0


@contextmanager
def sandbox_url(port: int, *, own_port: int = 0) -> Iterator[str]:
    """Yield the address of the sandbox on `port`, or of a new one on `own_port` that ends with the context.

    Args:
        port: where a sandbox that stays up would be.
        own_port: port of a new one; 0 for any free one.
    """
    if _answers(port):
        yield f"http://127.0.0.1:{port}"
        return
    with sandbox_process(port=own_port) as url:
        yield url


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().getheader("Server", "").startswith("crm-assets-sandbox")
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
