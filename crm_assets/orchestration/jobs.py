"""What can be run, and what runs at set times."""

from collections.abc import Mapping, Sequence

import dagster as dg

from crm_assets.apis.api_config import Cadence
from crm_assets.models import MODELS
from crm_assets.orchestration.assets import CRONS, TABLE
from crm_assets.orchestration.keys import asset_key
from crm_assets.settings import AutomationSettings

MAIN_JOB = "crm_all"
"""The job that loads everything; `make sync` runs it."""

CHECKS_JOB = "crm_checks"
"""The job that judges all tables as they are, and loads nothing."""

RESOURCES: Mapping[str, Sequence[str]] = {
    MAIN_JOB: list(MODELS),
    **{f"crm_{cadence}": [row["name"] for row in TABLE["resources"] if row["cadence"] == cadence] for cadence in CRONS},
    CHECKS_JOB: [],
}
"""What each job loads."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""The states of a run that still works, or will."""

_settings = AutomationSettings.read()


def _keys(resources: Sequence[str]) -> list[dg.AssetKey]:
    return [asset_key(resource) for resource in resources]


jobs = [
    *(
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*_keys(resources))
            | dg.AssetSelection.checks_for_assets(*_keys(resources)),
        )
        for name, resources in RESOURCES.items()
        if resources
    ),
    dg.define_asset_job(CHECKS_JOB, selection=dg.AssetSelection.checks_for_assets(*_keys(list(MODELS)))),
]


def _schedule(cadence: Cadence, cron: str) -> dg.ScheduleDefinition:
    job = f"crm_{cadence}"

    @dg.schedule(
        name=f"{job}_schedule",
        job_name=job,
        cron_schedule=cron,
        execution_timezone=_settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if _settings.enabled else dg.DefaultScheduleStatus.STOPPED,
        description=f"Loads {', '.join(RESOURCES[job])}; waits for no run of its own that still works.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        runs = context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1)
        if runs:
            state = runs[0].status.value.lower().replace("_", " ")
            return dg.SkipReason(f"The run {runs[0].run_id[:8]} of {job} is still {state}: this tick is left out.")
        return dg.RunRequest()

    return tick


schedules = [_schedule(cadence, cron) for cadence, cron in CRONS.items()]
