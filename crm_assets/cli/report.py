"""`crm-assets report` and `crm-assets status`: what is known of the tables."""

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crm_assets.cli.common import SILENT, AccountName, Quiet, Resources, TextConsole, accounts_of, explained, out
from crm_assets.errors import WarehouseLocked

if TYPE_CHECKING:
    from crm_assets.account import Account
    from crm_assets.report.results import Report


class ReportFormat(StrEnum):
    """The formats of a report."""

    terminal = "terminal"
    markdown = "markdown"
    html = "html"
    json = "json"
    junit = "junit"
    openmetrics = "openmetrics"


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
    with explained():
        from crm_assets.cli.terminal import print_report
        from crm_assets.report.formats import FORMATS
        from crm_assets.report.results import only_failures

        is_text = form is ReportFormat.terminal and output is None
        found = _collected(accounts_of(account, resources, shown=out if is_text else SILENT), resources)
        shown = only_failures(found) if failures else found
        if form is ReportFormat.terminal:
            with output.open("w", encoding="utf-8") if output else nullcontext(None) as file:
                print_report(TextConsole(file=file, width=160) if file else out, shown)
        elif output:
            output.write_text(FORMATS[form](shown), encoding="utf-8")
        else:
            typer.echo(FORMATS[form](shown), nl=False)
    if not found.ok:
        raise typer.Exit(1)


def status(
    resources: Resources = None,
    account: AccountName = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as `report --format json` does.")] = False,
) -> None:
    """Say of each table whether it is loaded, how old it is, and the worst that is known of it.

    Exits with 0 when nothing is wrong, and with 1 otherwise, as `report` does.
    """
    with explained():
        accounts = accounts_of(account, resources, shown=SILENT if quiet or as_json else out)
        from crm_assets.cli.terminal import print_status
        from crm_assets.report.formats import as_json as to_json
        from crm_assets.report.results import only_failures

        found = _collected(accounts, resources)
        if as_json:
            typer.echo(to_json(found))
        else:
            print_status(out, only_failures(found) if quiet else found)
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
            recorded[one.name] = f"{error.holder} has the warehouse open: this is what Dagster knows."
    with instance() as history:
        return collect(history, accounts, resources or (), recorded=recorded)
