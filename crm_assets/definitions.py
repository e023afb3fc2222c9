"""The stand-alone project: the configured accounts, built."""

from crm_assets.project import configure_dlt

configure_dlt()

import dagster as dg  # noqa: E402 - dlt, which the imports below bring, must find the project configured

from crm_assets.account import configured_accounts  # noqa: E402
from crm_assets.orchestration import build_defs  # noqa: E402

defs = dg.Definitions.merge(
    *map(build_defs, configured_accounts()),
    dg.Definitions(executor=dg.in_process_executor),
)
