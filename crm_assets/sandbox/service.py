"""A sandbox that runs until somebody ends it."""

import signal
from collections.abc import Iterable
from typing import Any, Final

from crm_assets.sandbox.listings import parse_count
from crm_assets.sandbox.server import API_KEY, EMAIL, Sandbox

ANNOUNCEMENT: Final = "sandbox CRM at "
"""Begins the line that says where it listens."""
_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(*, counts: Iterable[str] = (), faults: Iterable[str] = (), **options: Any) -> None:
    """Run a sandbox until SIGINT or SIGTERM.

    Args:
        counts: how many records, each in the words of `listings.parse_count`.
        faults: what goes wrong from the start, each in the words of `Fault.parse`.
        options: the others of `Sandbox`.

    Raises:
        ValueError: an option that cannot be; names it.
        OSError: the port is taken; names it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # the server's threads inherit it
    try:
        with Sandbox(dict(map(parse_count, counts)), **options) as sandbox:
            for fault in faults:
                sandbox.fault(fault)
            print(f"{ANNOUNCEMENT}{sandbox.base_url}", flush=True)  # noqa: T201 - a program waits for it
            print(f"login: {EMAIL}, API key: {API_KEY}", flush=True)  # noqa: T201 - of the sandbox, no secret
            signal.sigwait(_ENDS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
