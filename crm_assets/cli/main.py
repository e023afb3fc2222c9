"""The `crm-assets` command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from crm_assets.errors import CrmAssetsError, Reason, SettingError
from crm_assets.project import DAGSTER_HOME, ROOT, configure_dlt, exposed_secrets

if TYPE_CHECKING:
    from crm_assets.orchestration.run import Outcome

EXIT_CODES: dict[Reason, int] = {"data": 1, "setting": 2, "login": 3, "unavailable": 4, "warehouse": 5, "disk": 6}
"""What went wrong, for scripts. 0 is success; several different faults at once are 1."""

AUTOMATION_ON = "Automation is on: schedules and sensors run."
AUTOMATION_OFF = (
    "Automation is off. On: tick all under Automation in the UI and start them, or AUTOMATION__ENABLED=true."
)

app = typer.Typer(
    name="crm-assets",
    help="Loads a CRM into your warehouse.\n\n"
    "Exit codes: 0 all is well, 1 some data did not load, 2 a setting or an argument is wrong, 3 the CRM refused the "
    "login, 4 the CRM is not available, 5 the warehouse refused the load, 6 the disk did, 130 you cancelled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line."""
    configure_dlt()
    os.environ.setdefault("DAGSTER_HOME", str(DAGSTER_HOME))
    DAGSTER_HOME.mkdir(exist_ok=True)
    app()


@app.command()
def sync(
    resources: Annotated[
        list[str] | None, typer.Argument(help="Names of the resources to load; all eleven if none is named.")
    ] = None,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Delete more rows than sync.delete_guard allows, this once.")
    ] = False,
) -> None:
    """Load the resources into the warehouse, judge the tables, and print what landed and what was found.

    The run is recorded by Dagster, so `make dev` shows it too.
    """
    with _explained():
        from crm_assets.cli.terminal import print_landed, progress
        from crm_assets.orchestration.run import run

        with progress(_out):
            outcome = run(resources or [], allow_deletes=allow_deletes)
        if outcome.landed:
            print_landed(_out, outcome.landed)
        _conclude(outcome, resources)


@app.command()
def check(
    resources: Annotated[
        list[str] | None, typer.Argument(help="Names of the resources to check; all eleven if none is named.")
    ] = None,
) -> None:
    """Judge the tables as they are, without loading anything, and print what was found."""
    with _explained():
        from crm_assets.orchestration.run import run_checks

        _conclude(run_checks(resources or []), resources)


def _conclude(outcome: "Outcome", resources: list[str] | None) -> None:
    """Print what the checks of `resources` found, and end with what it means for a script."""
    from crm_assets.cli.terminal import print_summary
    from crm_assets.orchestration.run import instance
    from crm_assets.report.collect import collect

    with instance() as history:
        found = collect(history, resources)
    print_summary(_out, found)
    if outcome.problem:
        _fail(outcome.problem, {outcome.reason})
    if not found.ok:
        raise typer.Exit(1)


class ReportFormat(StrEnum):
    """The formats of a report."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    json = "json"
    junit = "junit"


@app.command()
def report(
    form: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.terminal,
    output: Annotated[Path | None, typer.Option(help="File to write; the terminal if none is named.")] = None,
    failures: Annotated[bool, typer.Option("--only-failures", help="Leave out what passed.")] = False,
) -> None:
    """Show the latest results of all checks.

    Exits with 0 when no check fails with ERROR, 1 otherwise.
    """
    with _explained():
        from crm_assets.cli.terminal import print_report
        from crm_assets.orchestration.run import instance
        from crm_assets.report.collect import collect, only_failures
        from crm_assets.report.formats import FORMATS

        with instance() as history:
            found = collect(history)
        shown = only_failures(found) if failures else found
        if form is ReportFormat.terminal:
            with output.open("w", encoding="utf-8") if output else nullcontext(None) as file:
                print_report(Console(file=file, width=160) if file else _out, shown)
        elif output:
            output.write_text(FORMATS[form](shown), encoding="utf-8")
        else:
            typer.echo(FORMATS[form](shown), nl=False)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def ping() -> None:
    """Check address and login: one request per resource, a table of answers.

    Exits with 0 when every resource answered with a page of records.
    """
    with _explained():
        from crm_assets.cli.terminal import print_answers
        from crm_assets.extract.probe import probe_resources
        from crm_assets.orchestration.resources import CrmApi

        if warning := exposed_secrets():
            _err.print(warning, soft_wrap=True)
        crm_api = CrmApi()
        table = crm_api.table()
        with crm_api.connection() as connection:
            answers = list(probe_resources(table, table["resources"], connection))
        print_answers(_out, connection.base_url, answers)
    errors = [answer.error for answer in answers if answer.error]
    if errors:
        _fail("\n".join(dict.fromkeys(f"{error.why}. {error.advice}" for error in errors)), {e.reason for e in errors})


@app.command()
def sandbox(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; the setting sandbox.port if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Two sandboxes with one seed hold the same records.")] = 1,
    latency: Annotated[float, typer.Option(help="Seconds that each answer takes longer.")] = 0.0,
    count: Annotated[
        list[str] | None, typer.Option(help="How many records, e.g. contacts=1000000. Repeatable.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="What goes wrong, e.g. tickets=503x2. Repeatable.")] = None,
) -> None:
    """Start the sandbox CRM alone, until Ctrl-C. Its page at / says what it holds."""
    from crm_assets.sandbox.service import serve
    from crm_assets.settings import SandboxSettings

    with _explained():
        fixed = port or SandboxSettings.read().port
        try:
            serve(port=fixed, seed=seed, latency=latency, counts=count or [], faults=fault or [])
        except (OSError, ValueError) as error:
            raise SettingError(f"The sandbox cannot start: {getattr(error, 'strerror', None) or error}.") from None


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
) -> None:
    """Open the Dagster UI with its daemon, and the sandbox CRM while `base_url` is `sandbox`. Until Ctrl-C."""
    with _explained():
        from crm_assets.orchestration.run import instance
        from crm_assets.orchestration.run_reaper import reap_dead_runs
        from crm_assets.sandbox.running import sandbox_url
        from crm_assets.settings import AutomationSettings, CrmSettings, SandboxSettings

        settings = CrmSettings.read()
        automated = AutomationSettings.read().enabled
        with instance() as history:
            reap_dead_runs(history)
        fixed = SandboxSettings.read().port
        with sandbox_url(fixed, own_port=fixed) if settings.is_sandbox else nullcontext(settings.base_url) as url:
            _out.print(f"CRM at {url}, Dagster at http://127.0.0.1:{port}")
            _out.print(AUTOMATION_ON if automated else AUTOMATION_OFF, soft_wrap=True)
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


def _until_ended(command: list[str]) -> None:
    # A shell that starts this in the background leaves SIGINT ignored, and Dagster would then ignore SIGTERM too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command) as process:  # noqa: S603 - our own command
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CrmAssetsError as error:
        _fail(str(error), {error.reason})
    except OSError as error:
        _fail(f"{error.filename or 'The disk'}: {error.strerror or error}.", {"disk"})
    except KeyboardInterrupt:
        _err.print("Cancelled.")
        raise typer.Exit(130) from None


def _fail(problem: str, reasons: AbstractSet[Reason]) -> NoReturn:
    _err.print(problem, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_CODES[next(iter(reasons))] if len(reasons) == 1 else 1)
