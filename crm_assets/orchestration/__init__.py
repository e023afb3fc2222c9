"""Everything that knows Dagster: assets, checks, jobs, schedules, sensors, resources."""

import dagster as dg

from crm_assets.account import Account
from crm_assets.orchestration.assets import api_asset, tables_asset
from crm_assets.orchestration.by_products import by_product_specs
from crm_assets.orchestration.jobs import build_jobs
from crm_assets.orchestration.resources import build_resources
from crm_assets.orchestration.schedules import build_schedules
from crm_assets.orchestration.sensors import build_sensors

__all__ = ["build_defs"]


def build_defs(account: Account) -> dg.Definitions:
    """Return the assets, checks, jobs, schedules, sensors and resources of `account`.

    All names carry the account's, and the executor is on the jobs, so that the result merges with any other
    definitions: `dg.Definitions.merge(mine, build_defs(acme), build_defs(globex))`.

    Raises:
        SettingError: a cron cannot be used.
    """
    return dg.Definitions(
        assets=[api_asset(account), tables_asset(account), *by_product_specs(account)],
        jobs=build_jobs(account),
        schedules=build_schedules(account),
        sensors=build_sensors(account),
        resources=build_resources(account),
    )
