"""The accounts of the stand-alone project: a list, or a file of hundreds, of which a code location may take a slice."""

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from crm_assets.account import DEFAULT_ACCOUNT, Account, resolve_account
from crm_assets.accounts_file import file_of_accounts, forget_accounts, read_accounts
from crm_assets.errors import ApiConfigError, SettingError
from crm_assets.project import data_directory
from crm_assets.settings import find_setting, split_names

_SLICE = re.compile(r"([1-9]\d*)/([1-9]\d*)")

Unusable = dict[str, ApiConfigError | SettingError]
"""Accounts that cannot be loaded, each with the reason."""


def configured_accounts(
    name: str | None = None, *, unusable: Unusable | None = None, part: str | None = None
) -> list[Account]:
    """Return the accounts of the stand-alone project: those that the setting `accounts` names, `crm` if it is not set.

    Args:
        name: the only one to return; None for all of the slice.
        unusable: takes the accounts that cannot be loaded, each with its error, instead of raising the first one.
        part: which slice, e.g. `3/20`; None for the one that the setting `slice` names, or all.

    Raises:
        ApiConfigError: the API of one cannot be read.
        SettingError: `name` is not configured, the list or the slice is wrong, two accounts write into one dataset, or
            one has a setting that cannot be used. The only account there is raises it in any case.
    """
    names = configured_names()
    if name is not None and name not in names:
        known = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        raise SettingError(f"There is no account {name!r}. Configured: {known} (setting `accounts`).")
    wanted = [name] if name is not None else slice_of(names, part or find_setting("slice"))
    path = file_of_accounts(find_setting("accounts"))
    faults = read_accounts(path).faults if path else {}
    accounts: list[Account] = []
    places: dict[tuple[str, ...], str] = {}
    for one in wanted:
        try:
            if one in faults:
                raise faults[one]
            account = _resolved(one)
            _claim(account, places)
        except (ApiConfigError, SettingError) as error:
            is_alone = len(names) == 1 and isinstance(error, SettingError)
            if unusable is None or is_alone:
                raise
            unusable[one] = error
        else:
            accounts.append(account)
    return accounts


def configured_names() -> list[str]:
    """Return the names of all accounts, whether they can be loaded or not.

    Raises:
        SettingError: the setting `accounts` names none, or one twice, or a file that cannot be used.
    """
    found = find_setting("accounts")
    if (path := file_of_accounts(found)) is not None:
        return read_accounts(path).names
    forget_accounts()
    names = [DEFAULT_ACCOUNT] if found is None else list(split_names(found))
    if not names or len(set(names)) < len(names):
        raise SettingError(
            'The setting `accounts` must name each account once. Set it in .dlt/config.toml: accounts = ["crm"], '
            'or a file: accounts = "accounts.yaml"; or ACCOUNTS in the environment.'
        )
    return names


def slice_of(names: Iterable[str], part: Any) -> list[str]:
    """Return the accounts of one slice, by a hash of their names: one that is added moves no other.

    Args:
        names: of all accounts.
        part: which of how many, e.g. `3/20`; None for all.

    Raises:
        SettingError: it is not such a fraction.
    """
    if part is None:
        return list(names)
    found = _SLICE.fullmatch(str(part))
    if found is None or int(found[1]) > int(found[2]):
        raise SettingError(
            f"The setting `slice` (SLICE) is {part!r}, which is not one of so many, such as 3/20. Unset it to load all "
            "accounts."
        )
    number, count = int(found[1]), int(found[2])
    return [name for name in names if int(sha256(name.encode()).hexdigest(), 16) % count == number - 1]


def _resolved(name: str) -> Account:
    account = resolve_account(name, fallback_dir=data_directory())
    if file_of_accounts(find_setting("accounts")) is None:
        return account
    # So many on the minute would wait for each other; what somebody has set stays.
    return replace(account, automation=account.automation.spread())


def _claim(account: Account, places: dict[tuple[str, ...], str]) -> None:
    """Refuse an account whose tables or assets would be those of another one."""
    place, prefix = (account.warehouse.destination, account.dataset), ("key_prefix", *account.key_prefix)
    if other := places.get(place):
        raise SettingError(
            f"The accounts {other} and {account.name} write into one dataset, {account.dataset}. "
            f"Set `dataset` under [{account.section}.warehouse] in .dlt/config.toml, or where the account is described."
        )
    if other := places.get(prefix):
        raise SettingError(
            f"The accounts {other} and {account.name} have one key_prefix, {'/'.join(account.key_prefix)}. "
            f"Set another one under [{account.section}] in .dlt/config.toml, or where the account is described."
        )
    places[place] = places[prefix] = account.name
