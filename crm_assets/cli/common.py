"""What the commands share: the terminal, the accounts they are about, and how an error ends them."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from crm_assets.errors import CrmAssetsError, Reason, SettingError
from crm_assets.text import printable

if TYPE_CHECKING:
    from crm_assets.account import Account

EXIT_CODES: dict[Reason, int] = {"data": 1, "setting": 2, "login": 3, "unavailable": 4, "warehouse": 5, "disk": 6}
"""What went wrong, for scripts. 0 is success; several different faults at once are 1."""


class TextConsole(Console):
    """A terminal that takes what it is given for text, whatever the CRM has put into it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print `objects`."""
        super().print(*(printable(one) if isinstance(one, str) else one for one in objects), **options)


out = TextConsole()
err = TextConsole(stderr=True)
SILENT = TextConsole(quiet=True)
"""Stands for the terminal where nothing is to be printed."""
_left_out: ContextVar[bool] = ContextVar("left_out", default=False)
"""Whether the command has left out an account that cannot be read."""

AccountName = Annotated[
    str | None, typer.Option("--account", help="Name of the account. Default: all configured accounts.")
]
Resources = Annotated[list[str] | None, typer.Argument(help="Names of the resources. Default: all.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is wrong.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def accounts_of(name: str | None, resources: list[str] | None = None, *, shown: Console = out) -> "list[Account]":
    """Return the accounts that a command is about, and say on `shown` which they are.

    One that cannot be loaded is told, and left out; the command then ends as failed when the others are done.

    Raises:
        SettingError: the only account has a setting that cannot be used, or `resources` could be of several accounts.
        ApiConfigError: the API of the only account cannot be read.
    """
    from crm_assets.accounts import Unusable, configured_accounts
    from crm_assets.unknown_settings import unknown_settings

    unusable: Unusable = {}
    accounts = configured_accounts(name, unusable=unusable)
    if unusable and not accounts:
        raise next(iter(unusable.values()))
    for error in unusable.values():
        err.print(str(error), style="red", soft_wrap=True)
    _left_out.set(bool(unusable))
    if resources and len(accounts) > 1:
        raise SettingError(f"Which account? Name one of {', '.join(one.name for one in accounts)} with --account.")
    for one in accounts:
        for line in unknown_settings(one):
            err.print(line, style="yellow", soft_wrap=True)
        shown.print(str(one), soft_wrap=True)
    return accounts


@contextmanager
def explained() -> Iterator[None]:
    """Print what went wrong, in words, and exit with the code that says what kind of help is needed."""
    _left_out.set(False)
    try:
        yield
        if _left_out.get():
            raise typer.Exit(EXIT_CODES["setting"])
    except CrmAssetsError as error:
        fail(str(error), {error.reason})
    except OSError as error:
        fail(f"{error.filename or 'The disk'}: {error.strerror or error}.", {"disk"})
    except KeyboardInterrupt:
        err.print("Cancelled. Tables that were not reached are unchanged.")
        raise typer.Exit(130) from None


def fail(problem: str, reasons: AbstractSet[Reason]) -> NoReturn:
    """Print `problem` and exit with the code of `reasons`."""
    err.print(problem, style="red", soft_wrap=True)
    raise typer.Exit(exit_code(reasons))


def exit_code(reasons: AbstractSet[Reason]) -> int:
    """Return the exit code for what went wrong: that of the reason, 1 if there are several, 0 for none."""
    match list(reasons):
        case []:
            return 0
        case [reason]:
            return EXIT_CODES[reason]
        case _:
            return 1
