"""Servers that tests start, each the real one: how it is found, run on loopback and ended."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_DEBIAN = Path("/usr/lib/postgresql")


def find_program(name: str, package: str) -> str:
    """Return the path of the program `name`, or skip the test with what to install.

    Where everything must be tested (`TESTS_NEED_EVERYTHING=1`), the test fails instead.
    """
    newest_first = sorted(_DEBIAN.glob(f"*/bin/{name}"), reverse=True)
    if found := shutil.which(name) or next(map(str, newest_first), None):
        return found
    problem = f"{name} is not installed. Get it: apt-get install {package}"
    if os.environ.get("TESTS_NEED_EVERYTHING") == "1":
        pytest.fail(problem)
    pytest.skip(problem)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` while the block lasts; it is ended as Ctrl-C ends it, or killed if it does not listen."""
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(2)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
