"""All that an account is in Dagster."""

import dagster as dg

from crm_assets.account import Account
from crm_assets.orchestration.assets import api_asset, tables_asset
from crm_assets.orchestration.by_products import by_product_specs
from crm_assets.orchestration.jobs import build_jobs
from crm_assets.orchestration.resources import build_resources
from crm_assets.orchestration.schedules import build_schedules
from crm_assets.orchestration.sensors import build_sensors


def definitions_of(account: Account) -> dg.Definitions:
    """Return what `build_defs` promises."""
    return dg.Definitions(
        assets=[api_asset(account), tables_asset(account), *by_product_specs(account)],
        jobs=build_jobs(account),
        schedules=build_schedules(account),
        sensors=build_sensors(account),
        resources=build_resources(account),
    )
