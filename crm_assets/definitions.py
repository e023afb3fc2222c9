"""What Dagster loads: composition, nothing else."""

from crm_assets.project import settle

settle()

import dagster as dg  # noqa: E402 - dlt, which the imports below bring, must find the project settled

from crm_assets.assets import crm, crm_api_asset  # noqa: E402
from crm_assets.resources import CrmApi, Warehouse  # noqa: E402

MAIN_JOB = "crm_all"
"""The job that loads everything; `make sync` runs it."""

CHECKS_JOB = "crm_checks"
"""The job that judges all tables as they are, and loads nothing."""

_crm_api = CrmApi()
_tables = dg.AssetSelection.assets(crm)

defs = dg.Definitions(
    assets=[crm_api_asset, crm],
    jobs=[
        dg.define_asset_job(MAIN_JOB, selection=_tables | dg.AssetSelection.checks_for_assets(crm)),
        dg.define_asset_job(CHECKS_JOB, selection=dg.AssetSelection.checks_for_assets(crm)),
    ],
    resources={"crm_api": _crm_api, "warehouse": Warehouse(crm_api=_crm_api)},
    executor=dg.in_process_executor,
)
