"""The configured accounts in one code location: what is wrong with one of them stays with it."""

import dagster as dg

from crm_assets.account import Account
from crm_assets.accounts import Unusable, configured_accounts, configured_names
from crm_assets.errors import SettingError
from crm_assets.orchestration import build_defs
from crm_assets.orchestration.unusable import unusable_account


def definitions_of_accounts(part: str | None = None) -> dg.Definitions:
    """Return the definitions of the configured accounts; for one that cannot be loaded, definitions that say why.

    Args:
        part: which slice of them, e.g. `3/20`; None for the one that the setting `slice` names, or all.

    Raises:
        SettingError: the list or the slice is wrong, or the only account has a setting that cannot be used.
    """
    unusable: Unusable = {}
    built = [_built(account, unusable) for account in configured_accounts(unusable=unusable, part=part)]
    return dg.Definitions.merge(
        *(one for one in built if one),
        *(unusable_account(name, error) for name, error in unusable.items()),
        dg.Definitions(executor=dg.in_process_executor),
    )


def _built(account: Account, unusable: Unusable) -> dg.Definitions | None:
    try:
        return build_defs(account)
    except SettingError as error:
        if len(configured_names()) == 1:
            raise
        unusable[account.name] = error
        return None
