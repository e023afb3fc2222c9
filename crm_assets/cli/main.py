"""The `crm-assets` command."""

import os
from importlib.metadata import version
from typing import Annotated

import typer

from crm_assets.cli.accounts import accounts_app
from crm_assets.cli.dev import dev, sandbox
from crm_assets.cli.doctor import doctor
from crm_assets.cli.init_resource import init_resource
from crm_assets.cli.ping import ping
from crm_assets.cli.report import report, status
from crm_assets.cli.sync import check, sync
from crm_assets.project import DAGSTER_HOME, configure_dlt
from crm_assets.sandbox.fault_kinds import KINDS

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
for command in (sync, check, status, report, ping, doctor, init_resource, dev):
    app.command()(command)
app.add_typer(accounts_app)
app.command(epilog="\n\n".join(["Kinds of faults:", *(f"- {kind}: {seen}" for kind, seen in KINDS.items())]))(sandbox)


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
