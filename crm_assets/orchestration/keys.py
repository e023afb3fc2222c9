"""The names by which Dagster knows what belongs to an account. Users and scripts depend on them."""

import dagster as dg

from crm_assets.account import Account


def asset_key(account: Account, resource: str) -> dg.AssetKey:
    """Return the key of the asset that holds `resource`."""
    return dg.AssetKey([*account.key_prefix, resource])


def api_asset_key(account: Account) -> dg.AssetKey:
    """Return the key of the CRM itself, upstream of all tables."""
    return dg.AssetKey(f"{account.name}_api")


def main_job(account: Account) -> str:
    """Return the name of the job that loads everything; `make sync` runs it."""
    return f"{account.name}_all"


def cadence_job(account: Account, cadence: str) -> str:
    """Return the name of the job that loads the resources of one cadence."""
    return f"{account.name}_{cadence}"


def checks_job(account: Account) -> str:
    """Return the name of the job that checks all tables and loads nothing."""
    return f"{account.name}_checks"


def api_resource(account: Account) -> str:
    """Return the name of the Dagster resource that connects to the CRM."""
    return f"{account.name}_api"


def warehouse_resource(account: Account) -> str:
    """Return the name of the Dagster resource that opens the warehouse."""
    return f"{account.name}_warehouse"
