"""The child process of `sandbox_process`: options as a line of JSON on stdin, at whose end it ends."""

import sys

import orjson

from crm_assets.sandbox.server import Sandbox
from crm_assets.sandbox.service import ANNOUNCEMENT

if __name__ == "__main__":
    options = orjson.loads(sys.stdin.readline())
    faults = options.pop("faults")
    try:
        with Sandbox(**options) as sandbox:
            for fault in faults:
                sandbox.fault(fault)
            print(f"{ANNOUNCEMENT}{sandbox.base_url}", flush=True)  # noqa: T201 - the parent waits for it
            sys.stdin.read()
    except (OSError, ValueError) as error:
        print(getattr(error, "strerror", None) or error)  # noqa: T201 - on one line, as the parent reads it
