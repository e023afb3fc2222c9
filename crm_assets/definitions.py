"""What Dagster loads: composition, nothing else."""

from crm_assets.project import configure_dlt

configure_dlt()

import dagster as dg  # noqa: E402 - dlt, which the imports below bring, must find the project settled

from crm_assets.orchestration.assets import crm, crm_api_asset  # noqa: E402
from crm_assets.orchestration.jobs import jobs, schedules  # noqa: E402
from crm_assets.orchestration.resources import CrmApi, Warehouse  # noqa: E402
from crm_assets.orchestration.sensors import sensors  # noqa: E402

_crm_api = CrmApi()

defs = dg.Definitions(
    assets=[crm_api_asset, crm],
    jobs=jobs,
    schedules=schedules,
    sensors=sensors,
    resources={"crm_api": _crm_api, "warehouse": Warehouse(crm_api=_crm_api)},
    executor=dg.in_process_executor,
)
