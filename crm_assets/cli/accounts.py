"""`crm-assets accounts`: how many accounts stand, and the code locations that load them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crm_assets.cli.common import AsJson, explained, out

if TYPE_CHECKING:
    from crm_assets.report.accounts import AccountState

accounts_app = typer.Typer(
    name="accounts", help="List the configured accounts: whether each can be loaded, and when it last was."
)


@accounts_app.callback(invoke_without_command=True)
def accounts(context: typer.Context, as_json: AsJson = False) -> None:
    """List the configured accounts: whether each can be loaded, when it last was, and whether that is too long ago.

    Exits with 0 when nothing is wrong with any of them, and with 1 otherwise.
    """
    if context.invoked_subcommand:
        return
    with explained():
        from crm_assets.accounts import Unusable, configured_accounts
        from crm_assets.orchestration.run import instance
        from crm_assets.report.accounts import account_states

        unusable: Unusable = {}
        found = configured_accounts(unusable=unusable)
        with instance() as history:
            states = account_states(history, found, unusable)
        _print(states, as_json=as_json)
    if any(one.state == "ERROR" for one in states):
        raise typer.Exit(1)


@accounts_app.command()
def workspace(
    slices: Annotated[int, typer.Option(min=1, help="Number of code locations.")],
    output: Annotated[Path | None, typer.Option(help="Output file. Default: print to the terminal.")] = None,
) -> None:
    """Write a workspace.yaml in which each code location loads a slice of the accounts."""
    lines = [
        "# Written by `crm-assets accounts workspace`; docs/accounts.md",
        "load_from:",
    ]
    for number in range(1, slices + 1):
        lines += [
            "  - python_module:",
            "      module_name: crm_assets.slices",
            f"      attribute: slice_{number}_of_{slices}",
            f"      location_name: crm_assets_{number}_of_{slices}",
        ]
    text = "\n".join(lines) + "\n"
    with explained():
        if output:
            output.write_text(text, encoding="utf-8")
        else:
            typer.echo(text, nl=False)


def _print(states: "list[AccountState]", *, as_json: bool) -> None:
    from crm_assets.cli.as_json import accounts_as_json
    from crm_assets.cli.terminal import print_accounts

    if as_json:
        typer.echo(accounts_as_json(states))
    else:
        print_accounts(out, states)
