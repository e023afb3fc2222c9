"""A sandbox in a child process."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Final

from crm_assets.sandbox.server import API_KEY, DEFAULT_SEED, EMAIL
from crm_assets.sandbox.service import ANNOUNCEMENT

PATIENCE: Final = 5.0
"""Seconds that a child gets to end on its own."""


class SandboxFailed(RuntimeError):
    """The child process did not start to listen. The message is what it said."""


@contextmanager
def sandbox_process(
    *,
    counts: Mapping[str, int] | None = None,
    faults: Iterable[str] = (),
    seed: int = DEFAULT_SEED,
    latency: float = 0.0,
    port: int = 0,
    email: str = EMAIL,
    api_key: str = API_KEY,
) -> Iterator[str]:
    """Run a sandbox in a child process while the block lasts; give its base URL.

    The child ends with this process, however that ends, and is not reached by a Ctrl-C meant for it.

    Args:
        counts: records per resource, where they differ from the usual ones.
        faults: what goes wrong, in the words of `Fault.parse`.
        seed: two sandboxes with one seed hold the same records.
        latency: seconds before each listing is answered.
        port: where it listens; 0 for any free port.
        email: username of the login.
        api_key: password of the login. Other users of this machine can see it: use no real one.

    Raises:
        SandboxFailed: it did not start; says why.
    """
    options = [f"--port={port}", f"--seed={seed}", f"--latency={latency}", f"--email={email}", f"--api-key={api_key}"]
    options += [f"--count={resource}={count}" for resource, count in (counts or {}).items()]
    options += [f"--fault={fault}" for fault in faults]
    with TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "crm_assets.sandbox", "--with-parent", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        try:
            line = child.stdout.readline() if child.stdout else ""
            if not line.startswith(ANNOUNCEMENT):
                _end(child)
                said.seek(0)
                raise SandboxFailed(said.read().decode(errors="replace").strip() or "The sandbox did not start.")
            yield line.removeprefix(ANNOUNCEMENT).strip()
        finally:
            _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    if child.stdin and not child.stdin.closed:
        child.stdin.close()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()
