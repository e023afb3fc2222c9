"""Slices of the configured accounts, each a code location: the attribute `slice_3_of_20` of this module, and so on.

`crm-assets accounts workspace` writes a `workspace.yaml` of them. A code server names its slice by the setting `slice`
instead, and loads `crm_assets.definitions`.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

from crm_assets.project import configure_dlt

if TYPE_CHECKING:
    import dagster as dg

_NAME = re.compile(r"slice_(\d+)_of_(\d+)")


@cache
def __getattr__(name: str) -> "dg.Definitions":
    """Return the definitions of a slice.

    Raises:
        SettingError: there is no such slice, or the list of accounts cannot be used.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise AttributeError(name)
    configure_dlt()
    from crm_assets.orchestration.accounts import definitions_of_accounts

    return definitions_of_accounts(f"{found[1]}/{found[2]}")
