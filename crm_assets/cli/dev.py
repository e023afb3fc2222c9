"""`crm-assets dev` and `crm-assets sandbox`: servers that run until somebody ends them."""

import signal
import subprocess
import sys
from contextlib import nullcontext
from enum import StrEnum
from importlib.util import find_spec
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import Annotated

import typer

from crm_assets.cli.common import SILENT, accounts_of, explained, out
from crm_assets.errors import SettingError
from crm_assets.project import ROOT

AUTOMATION_ON = "Automation is on: schedules and sensors run."
AUTOMATION_OFF = (
    "Automation is off. To turn it on, select all under Automation in the UI and start them, "
    "or set AUTOMATION__ENABLED=true."
)


class SandboxApi(StrEnum):
    """One of the APIs that the sandbox serves."""

    V1 = "v1"
    AGILECRM = "agilecrm"


def sandbox(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; the setting sandbox.port if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed. The same seed gives the same records.")] = 1,
    latency: Annotated[float, typer.Option(help="Extra delay of each response, in seconds.")] = 0.0,
    count: Annotated[
        list[str] | None, typer.Option(help="How many records, e.g. contacts=1000000. Repeatable.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Fault to simulate, e.g. tickets=503, tickets=503x2@3: requests 4 and 5, or notes/981=500: "
            "of one contact or deal. Repeatable."
        ),
    ] = None,
    api: Annotated[SandboxApi | None, typer.Option(help="The only API to serve; both if not given.")] = None,
) -> None:
    """Start the sandbox CRM alone, until Ctrl-C. Its page at / says what it holds."""
    from crm_assets.account import DEFAULT_ACCOUNT
    from crm_assets.sandbox.service import serve
    from crm_assets.settings import SandboxSettings

    with explained():
        fixed = port or SandboxSettings.read(DEFAULT_ACCOUNT).port
        try:
            serve(port=fixed, seed=seed, latency=latency, counts=count or [], faults=fault or [], api=api)
        except (OSError, ValueError) as error:
            raise SettingError(f"The sandbox cannot start: {getattr(error, 'strerror', None) or error}.") from None


def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster UI with its daemon, and the sandbox CRM while `base_url` is `sandbox`. Until Ctrl-C."""
    with explained():
        from crm_assets.account import DEFAULT_ACCOUNT
        from crm_assets.orchestration.run import instance
        from crm_assets.orchestration.run_reaper import reap_dead_runs
        from crm_assets.sandbox.running import sandbox_url
        from crm_assets.settings import SandboxSettings

        if find_spec("dagster_webserver") is None:
            raise SettingError('The UI is an extra: pip install "crm_assets[ui]"')
        _require_free(port)
        accounts = accounts_of(None, shown=SILENT)
        with instance() as history:
            reap_dead_runs(history)
        fixed = SandboxSettings.read(DEFAULT_ACCOUNT).port
        needs_sandbox = any(one.is_sandbox for one in accounts)
        with sandbox_url(fixed, own_port=fixed) if needs_sandbox else nullcontext("") as sandbox_address:
            for one in accounts:
                address = sandbox_address if one.is_sandbox else one.crm.base_url
                out.print(f"{one.name}: CRM at {address}", soft_wrap=True)
            out.print(f"Dagster at http://127.0.0.1:{port}")
            automated = any(one.automation.enabled for one in accounts)
            out.print(AUTOMATION_ON if automated else AUTOMATION_OFF, soft_wrap=True)
            _until_ended(
                [
                    sys.executable,
                    "-m",
                    "dagster",
                    "dev",
                    "-w",
                    str(ROOT / "workspace.yaml"),
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(port),
                ]
            )


def _require_free(port: int) -> None:
    with socket() as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # as the webserver does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            problem = f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}."
            raise SettingError(f"{problem} Take another: crm-assets dev --port {port + 1}") from None


def _until_ended(command: list[str]) -> None:
    # A shell that starts this in the background leaves SIGINT ignored, and Dagster would then ignore SIGTERM too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command) as process:  # noqa: S603 - our own command
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
