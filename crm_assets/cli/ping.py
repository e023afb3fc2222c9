"""`crm-assets ping`: is the CRM there, and does it accept the login?"""

import typer

from crm_assets.cli.common import SILENT, AccountName, AsJson, Quiet, accounts_of, err, explained, fail, out
from crm_assets.project import exposed_secrets


def ping(account: AccountName = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Check address and login: one request per resource, a table of responses. Dagster's UI shows the outcome, too.

    Below stands what the responses show of the API's habits: what pages end with, which fields belong to the list, and
    whether it says what is new. Exits with 0 when every resource answered with a page of records.
    """
    with explained():
        from crm_assets.cli.as_json import probes_as_json
        from crm_assets.cli.terminal import print_probes
        from crm_assets.extract.connect import connect
        from crm_assets.extract.probe import probe_resources
        from crm_assets.orchestration.last_ping import record_ping
        from crm_assets.orchestration.run import instance

        if warning := exposed_secrets():
            err.print(warning, soft_wrap=True)
        shown = SILENT if quiet or as_json else out
        answers = {}
        for one in accounts_of(account, shown=shown):
            with connect(one) as connection:
                answers[one.name] = list(probe_resources(one.resources, connection, one.api, observe=True))
            print_probes(shown, answers[one.name])
            with instance() as history:
                record_ping(history, one, answers[one.name])
        if as_json:
            typer.echo(probes_as_json(answers))
        errors = [probe.error for probes in answers.values() for probe in probes if probe.error]
    if errors:
        # The table has what became of each; one cause needs one piece of advice.
        fail("\n".join(dict.fromkeys(error.advice for error in errors)), {error.reason for error in errors})
