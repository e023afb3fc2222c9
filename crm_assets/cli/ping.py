"""`crm-assets ping`: is the CRM there, and does it accept the login?"""

from crm_assets.cli.common import AccountName, accounts_of, err, explained, fail, out
from crm_assets.project import exposed_secrets


def ping(account: AccountName = None) -> None:
    """Check address and login: one request per resource, a table of responses.

    Exits with 0 when every resource answered with a page of records.
    """
    with explained():
        from crm_assets.cli.terminal import print_probes
        from crm_assets.extract.connect import connect
        from crm_assets.extract.probe import probe_resources

        if warning := exposed_secrets():
            err.print(warning, soft_wrap=True)
        errors = []
        for one in accounts_of(account):
            with connect(one) as connection:
                probes = list(probe_resources(one.resources, connection))
            print_probes(out, probes)
            errors += [probe.error for probe in probes if probe.error]
    if errors:
        # The table has what became of each; one cause needs one piece of advice.
        fail("\n".join(dict.fromkeys(error.advice for error in errors)), {error.reason for error in errors})
