"""The `crm-assets` command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from crm_assets.errors import CrmAssetsError, Reason, SettingError, WarehouseLocked
from crm_assets.project import DAGSTER_HOME, ROOT, configure_dlt, exposed_secrets

if TYPE_CHECKING:
    from crm_assets.account import Account
    from crm_assets.orchestration.run import Outcome
    from crm_assets.report.collect import Report

EXIT_CODES: dict[Reason, int] = {"data": 1, "setting": 2, "login": 3, "unavailable": 4, "warehouse": 5, "disk": 6}
"""What went wrong, for scripts. 0 is success; several different faults at once are 1."""

AUTOMATION_ON = "Automation is on: schedules and sensors run."
AUTOMATION_OFF = (
    "Automation is off. To turn it on, select all under Automation in the UI and start them, "
    "or set AUTOMATION__ENABLED=true."
)

app = typer.Typer(
    name="crm-assets",
    help="Loads a CRM into your warehouse.\n\n"
    "Exit codes: 0 all is well, 1 some data did not load, 2 a setting or an argument is wrong, 3 the CRM refused the "
    "login, 4 the CRM is not available, 5 the warehouse refused the load, 6 a file could not be "
    "written, 130 you cancelled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line."""
    configure_dlt()
    os.environ.setdefault("DAGSTER_HOME", str(DAGSTER_HOME))
    DAGSTER_HOME.mkdir(exist_ok=True)
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crm_assets {version('crm_assets')}, dlt {version('dlt')}, dagster {version('dagster')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


AccountName = Annotated[
    str | None, typer.Option("--account", help="Name of the account. Default: all configured accounts.")
]
Resources = Annotated[list[str] | None, typer.Argument(help="Names of the resources. Default: all.")]


@app.command()
def sync(
    resources: Resources = None,
    account: AccountName = None,
    allow_deletes: Annotated[
        bool,
        typer.Option("--allow-deletes", help="Apply deletes in this run even if sync.delete_guard would block them."),
    ] = False,
) -> None:
    """Load the resources into the warehouse, check their tables, and print the results.

    The run is recorded by Dagster, so `make dev` shows it too.
    """
    with _explained():
        accounts = _accounts(account, resources)
        from crm_assets.cli.terminal import print_landed, progress
        from crm_assets.orchestration.run import run

        outcomes = []
        for one in accounts:
            with _resumable(one), progress(_out):
                outcome = run(one, resources or [], allow_deletes=allow_deletes)
            if outcome.landed:
                print_landed(_out, outcome.landed)
            outcomes.append(outcome)
        _conclude(outcomes)


@app.command()
def check(resources: Resources = None, account: AccountName = None) -> None:
    """Check the tables as they are, without loading anything, and print the results."""
    with _explained():
        accounts = _accounts(account, resources)
        from crm_assets.orchestration.run import run_checks

        _conclude([run_checks(one, resources or []) for one in accounts])


def _accounts(name: str | None, resources: list[str] | None = None, *, quiet: bool = False) -> "list[Account]":
    """Return the accounts that a command is about, and say which they are."""
    from crm_assets.account import configured_accounts
    from crm_assets.unknown_settings import unknown_settings

    accounts = configured_accounts(name)
    if resources and len(accounts) > 1:
        raise SettingError(f"Which account? Name one of {', '.join(one.name for one in accounts)} with --account.")
    for one in accounts:
        for line in unknown_settings(one):
            _err.print(line, style="yellow", markup=False, soft_wrap=True)
        if not quiet:
            _out.print(str(one), markup=False, soft_wrap=True)
    return accounts


@contextmanager
def _resumable(account: "Account") -> Iterator[None]:
    """Say, when somebody ends the run, what of it is kept."""
    try:
        yield
    except KeyboardInterrupt:
        folders = (account.data_dir / "unfinished").glob(f"{account.name}.*")
        kept = sorted(folder.name.rpartition(".")[2] for folder in folders)
        if kept:
            _err.print(f"What was read of {', '.join(kept)} is kept: the next sync resumes it.", soft_wrap=True)
        raise


def _conclude(outcomes: "list[Outcome]") -> None:
    """Print what the checks of these runs found, and end with what it means for a script."""
    from crm_assets.cli.terminal import print_checked

    checked = [one for outcome in outcomes for one in outcome.checked]
    if checked:
        print_checked(_out, checked)
    failed = [outcome for outcome in outcomes if outcome.problem]
    if failed:
        problems = "\n".join(outcome.problem or "" for outcome in failed)
        _fail(problems, {outcome.reason for outcome in failed})
    if any(one.state == "ERROR" for one in checked):
        raise typer.Exit(1)


class ReportFormat(StrEnum):
    """The formats of a report."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    json = "json"
    junit = "junit"
    openmetrics = "openmetrics"


@app.command()
def report(
    resources: Resources = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="Output format.")] = ReportFormat.terminal,
    account: AccountName = None,
    output: Annotated[Path | None, typer.Option(help="Output file. Default: print to the terminal.")] = None,
    failures: Annotated[bool, typer.Option("--only-failures", help="Show only checks that did not pass.")] = False,
) -> None:
    """Show how the last load of each table ended, how old it is, and what its checks found.

    Exits with 0 when every table is loaded, its last load ended well, none is stale, and no check fails with ERROR;
    with 1 otherwise.
    """
    with _explained():
        from crm_assets.cli.terminal import print_report
        from crm_assets.report.collect import only_failures
        from crm_assets.report.formats import FORMATS

        is_text = form is ReportFormat.terminal and output is None
        found = _collected(_accounts(account, resources, quiet=not is_text), resources)
        shown = only_failures(found) if failures else found
        if form is ReportFormat.terminal:
            with output.open("w", encoding="utf-8") if output else nullcontext(None) as file:
                print_report(Console(file=file, width=160) if file else _out, shown, only_failures=failures)
        elif output:
            output.write_text(FORMATS[form](shown), encoding="utf-8")
        else:
            typer.echo(FORMATS[form](shown), nl=False)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def status(
    resources: Resources = None,
    account: AccountName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as `report --format json` does.")] = False,
) -> None:
    """Say of each table whether it is loaded, how old it is, and the worst that is known of it.

    Exits with 0 when nothing is wrong, and with 1 otherwise, as `report` does.
    """
    with _explained():
        accounts = _accounts(account, resources, quiet=as_json)
        from crm_assets.cli.terminal import print_status
        from crm_assets.report.formats import as_json as to_json

        found = _collected(accounts, resources)
        if as_json:
            typer.echo(to_json(found))
        else:
            print_status(_out, found)
    if not found.ok:
        raise typer.Exit(1)


def _collected(accounts: "list[Account]", resources: list[str] | None = None) -> "Report":
    from crm_assets.load.warehouse import recorded_loads
    from crm_assets.orchestration.run import instance
    from crm_assets.report.collect import Recorded, collect

    recorded: dict[str, Recorded] = {}
    for one in accounts:
        try:
            recorded[one.name] = recorded_loads(one)
        except WarehouseLocked as error:
            recorded[one.name] = f"{error.holder} has the DuckDB file open: this is what Dagster knows."
    with instance() as history:
        return collect(history, accounts, resources or (), recorded=recorded)


@app.command()
def ping(account: AccountName = None) -> None:
    """Check address and login: one request per resource, a table of responses.

    Exits with 0 when every resource answered with a page of records.
    """
    with _explained():
        from crm_assets.cli.terminal import print_probes
        from crm_assets.extract.connect import connect
        from crm_assets.extract.probe import probe_resources

        if warning := exposed_secrets():
            _err.print(warning, soft_wrap=True)
        errors = []
        for one in _accounts(account):
            with connect(one) as connection:
                probes = list(probe_resources(one.resources, connection))
            print_probes(_out, probes)
            errors += [probe.error for probe in probes if probe.error]
    if errors:
        # The table has what became of each; one cause needs one piece of advice.
        _fail("\n".join(dict.fromkeys(error.advice for error in errors)), {error.reason for error in errors})


@app.command()
def sandbox(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; the setting sandbox.port if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed. The same seed gives the same records.")] = 1,
    latency: Annotated[float, typer.Option(help="Extra delay of each response, in seconds.")] = 0.0,
    count: Annotated[
        list[str] | None, typer.Option(help="How many records, e.g. contacts=1000000. Repeatable.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Fault to simulate, e.g. tickets=503x2. Repeatable.")] = None,
) -> None:
    """Start the sandbox CRM alone, until Ctrl-C. Its page at / says what it holds."""
    from crm_assets.account import DEFAULT_ACCOUNT
    from crm_assets.sandbox.service import serve
    from crm_assets.settings import SandboxSettings

    with _explained():
        fixed = port or SandboxSettings.read(DEFAULT_ACCOUNT).port
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
        from crm_assets.account import DEFAULT_ACCOUNT
        from crm_assets.orchestration.run import instance
        from crm_assets.orchestration.run_reaper import reap_dead_runs
        from crm_assets.sandbox.running import sandbox_url
        from crm_assets.settings import SandboxSettings

        if find_spec("dagster_webserver") is None:
            raise SettingError('The UI is an extra: pip install "crm_assets[ui]"')
        _require_free(port)
        accounts = _accounts(None, quiet=True)
        with instance() as history:
            reap_dead_runs(history)
        fixed = SandboxSettings.read(DEFAULT_ACCOUNT).port
        needs_sandbox = any(one.is_sandbox for one in accounts)
        with sandbox_url(fixed, own_port=fixed) if needs_sandbox else nullcontext("") as sandbox_address:
            for one in accounts:
                address = sandbox_address if one.is_sandbox else one.crm.base_url
                _out.print(f"{one.name}: CRM at {address}", soft_wrap=True)
            _out.print(f"Dagster at http://127.0.0.1:{port}")
            automated = any(one.automation.enabled for one in accounts)
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


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CrmAssetsError as error:
        _fail(str(error), {error.reason})
    except OSError as error:
        _fail(f"{error.filename or 'The disk'}: {error.strerror or error}.", {"disk"})
    except KeyboardInterrupt:
        _err.print("Cancelled. Tables that were not reached are unchanged.")
        raise typer.Exit(130) from None


def _fail(problem: str, reasons: AbstractSet[Reason]) -> NoReturn:
    _err.print(problem, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_CODES[next(iter(reasons))] if len(reasons) == 1 else 1)
