"""The stand-alone project: the configured accounts, built."""

from crm_assets.project import configure_dlt

configure_dlt()

import dagster as dg  # noqa: E402 - dlt, which the imports below bring, must find the project configured

from crm_assets.account import configured_accounts  # noqa: E402
from crm_assets.errors import ApiConfigError  # noqa: E402
from crm_assets.orchestration import build_defs  # noqa: E402
from crm_assets.orchestration.unusable import unusable_account  # noqa: E402

_unusable: dict[str, ApiConfigError] = {}

defs = dg.Definitions.merge(
    *map(build_defs, configured_accounts(unusable=_unusable)),
    *(unusable_account(name, error) for name, error in _unusable.items()),
    dg.Definitions(executor=dg.in_process_executor),
)
