"""The names by which Dagster knows what belongs to an account. Users and scripts depend on them."""

from urllib.parse import urlsplit

import dagster as dg

from crm_assets.account import Account
from crm_assets.apis.api_config import CADENCES

HOST_TAG = ".dagster/crm_assets_host"
"""Tag of each run of an account: the host of its CRM. Dagster's UI hides tags that begin so."""


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


def job_names(account: Account) -> list[str]:
    """Return the names of all jobs that there may be."""
    return [main_job(account), *(cadence_job(account, cadence) for cadence in CADENCES), checks_job(account)]


def host_tags(account: Account) -> dict[str, str]:
    """Return the tags of each run of a job of `account`, by which a deployment can limit runs for each CRM."""
    host = urlsplit(account.crm.base_url or "").netloc.lower()  # the sandbox has none: each run has one of its own
    return {HOST_TAG: host} if host else {}


def api_resource(account: Account) -> str:
    """Return the name of the Dagster resource that connects to the CRM."""
    return f"{account.name}_api"


def warehouse_resource(account: Account) -> str:
    """Return the name of the Dagster resource that opens the warehouse."""
    return f"{account.name}_warehouse"
