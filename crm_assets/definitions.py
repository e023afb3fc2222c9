"""The stand-alone project: the configured accounts, built."""

from crm_assets.project import configure_dlt

configure_dlt()

# dlt, which this brings, must find the project configured.
from crm_assets.orchestration.accounts import definitions_of_accounts  # noqa: E402

defs = definitions_of_accounts()
"""All that the accounts are in Dagster."""
