"""`crm-assets sync` and `crm-assets check`: run a job and say what came of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from crm_assets.cli.common import (
    SILENT,
    AccountName,
    AsJson,
    Quiet,
    Resources,
    accounts_of,
    err,
    explained,
    fail,
    out,
)

if TYPE_CHECKING:
    from crm_assets.account import Account
    from crm_assets.orchestration.run import Outcome


def sync(
    resources: Resources = None,
    account: AccountName = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what Dagster and dlt log, too, on standard error.")
    ] = False,
    as_json: AsJson = False,
    allow_deletes: Annotated[
        bool,
        typer.Option("--allow-deletes", help="Apply deletes in this run even if sync.delete_guard would block them."),
    ] = False,
) -> None:
    """Load the resources into the warehouse, check their tables, and print the results.

    The run is recorded by Dagster, so `make dev` shows it too.
    """
    with explained():
        if verbose:
            os.environ.setdefault("RUNTIME__LOG_LEVEL", "INFO")
        shown = SILENT if quiet or as_json else out
        accounts = accounts_of(account, resources, shown=shown)
        from crm_assets.cli.terminal import print_landed, progress
        from crm_assets.orchestration.run import run

        outcomes = []
        for one in accounts:
            with _resumable(one), progress(shown):
                outcome = run(one, resources or [], allow_deletes=allow_deletes, verbose=verbose)
            if outcome.landed:
                print_landed(shown, outcome.landed)
            outcomes.append(outcome)
        _conclude(outcomes, quiet=quiet, as_json=as_json)


def check(
    resources: Resources = None, account: AccountName = None, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Check the tables as they are, without loading anything, and print the results."""
    with explained():
        accounts = accounts_of(account, resources, shown=SILENT if quiet or as_json else out)
        from crm_assets.orchestration.run import run_checks

        _conclude([run_checks(one, resources or []) for one in accounts], quiet=quiet, as_json=as_json)


@contextmanager
def _resumable(account: "Account") -> Iterator[None]:
    """Say, when somebody ends the run, what of it is kept."""
    try:
        yield
    except KeyboardInterrupt:
        folders = (account.data_dir / "unfinished").glob(f"{account.name}.*")
        kept = sorted({folder.name.rpartition(".")[2] for folder in folders})
        if kept:
            err.print(f"What was read of {', '.join(kept)} is kept: the next sync resumes it.", soft_wrap=True)
        raise


def _conclude(outcomes: "list[Outcome]", *, quiet: bool, as_json: bool) -> None:
    """Print what the checks of these runs found, and end with what it means for a script."""
    from crm_assets.cli.as_json import outcomes_as_json
    from crm_assets.cli.terminal import print_checked, print_failing

    checked = [one for outcome in outcomes for one in outcome.checked]
    if as_json:
        typer.echo(outcomes_as_json(outcomes))
    elif quiet:
        print_failing(err, checked)
    elif checked:
        print_checked(out, checked)
    failed = [outcome for outcome in outcomes if outcome.problem]
    if failed:
        problems = "\n".join(outcome.problem or "" for outcome in failed)
        fail(problems, {outcome.reason for outcome in failed})
    if any(one.state == "ERROR" for one in checked):
        raise typer.Exit(1)
