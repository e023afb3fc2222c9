"""`crm-assets doctor`: is all there that a load needs?"""

from typing import Annotated

import typer

from crm_assets.cli.common import SILENT, AccountName, AsJson, Quiet, accounts_of, err, exit_code, explained, out


def doctor(
    account: AccountName = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    send_alert: Annotated[
        bool, typer.Option("--send-alert", help="Send a test message through each alert channel.")
    ] = False,
) -> None:
    """Show the settings and where each comes from, and try out what a load needs: files, CRM, login, warehouse, alerts.

    Loads and changes nothing. Exits with 0 when nothing is wrong.
    """
    with explained():
        from crm_assets.cli.as_json import examined_as_json
        from crm_assets.cli.examine import examine
        from crm_assets.cli.terminal import print_examined

        shown = SILENT if quiet or as_json else out
        accounts = accounts_of(account, shown=shown)
        found = {one.name: list(examine(one, send_alert=send_alert)) for one in accounts}
        wrong = [one for examined in found.values() for one in examined if one.state != "passed"]
        if as_json:
            typer.echo(examined_as_json(found))
        elif quiet:
            print_examined(err, wrong)
        else:
            for examined in found.values():
                print_examined(out, examined)
    raise typer.Exit(exit_code({one.error.reason for one in wrong if one.error and one.state == "ERROR"}))
