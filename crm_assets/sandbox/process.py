"""A sandbox in a child process."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Final, cast

import orjson

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
        api_key: password of the login.

    Raises:
        SandboxFailed: it did not start; says why.
    """
    options = {"counts": counts, "faults": list(faults), "seed": seed, "latency": latency, "port": port}
    line = orjson.dumps({**options, "email": email, "api_key": api_key}).decode()
    with subprocess.Popen(
        [sys.executable, "-m", "crm_assets.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        stdin, stdout = cast(IO[str], child.stdin), cast(IO[str], child.stdout)
        try:
            print(line, file=stdin, flush=True)
            said = stdout.readline().strip()
            if not said.startswith(ANNOUNCEMENT):
                raise SandboxFailed(said or "The sandbox did not start.")
            yield said.removeprefix(ANNOUNCEMENT)
        finally:
            stdin.close()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
