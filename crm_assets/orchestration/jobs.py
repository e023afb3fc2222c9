"""What can be run, and what runs at set times."""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crm_assets.account import Account
from crm_assets.apis.api_config import Cadence
from crm_assets.apis.resources import Resource
from crm_assets.orchestration.freshness import crons
from crm_assets.orchestration.keys import asset_key, cadence_job, checks_job, main_job
from crm_assets.orchestration.run_history import UNFINISHED


def build_jobs(account: Account) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs of `account`: all resources, one for each cadence, and the checks alone."""
    everything = ", ".join(resource.name for resource in account.resources)
    loads = [_load_job(main_job(account), account, account.resources, f"Loads and checks all tables: {everything}.")]
    loads += [
        _load_job(cadence_job(account, cadence), account, found, f"Loads and checks {_names(found)}.")
        for cadence in crons(account)
        if (found := _of_cadence(account, cadence))
    ]
    return [*loads, checks_only_job(account, account.resources)]


def checks_only_job(account: Account, resources: Iterable[Resource]) -> UnresolvedAssetJobDefinition:
    """Return the job that checks the tables of `resources` and loads nothing."""
    keys = [asset_key(account, resource.name) for resource in resources]
    return dg.define_asset_job(
        checks_job(account),
        selection=dg.AssetSelection.checks_for_assets(*keys),
        executor_def=dg.in_process_executor,
        description="Checks all tables without loading anything.",
    )


def build_schedules(account: Account) -> list[dg.ScheduleDefinition]:
    """Return a schedule for the job of each cadence that has resources."""
    return [
        _schedule(account, cadence, cron) for cadence, cron in crons(account).items() if _of_cadence(account, cadence)
    ]


def _load_job(
    name: str, account: Account, resources: Iterable[Resource], description: str
) -> UnresolvedAssetJobDefinition:
    keys = [asset_key(account, resource.name) for resource in resources]
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
        # One step: a process of its own for it would only cost time.
        executor_def=dg.in_process_executor,
        description=description,
    )


def _schedule(account: Account, cadence: Cadence, cron: str) -> dg.ScheduleDefinition:
    job = cadence_job(account, cadence)
    status = dg.DefaultScheduleStatus.RUNNING if account.automation.enabled else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=f"{job}_schedule",
        job_name=job,
        cron_schedule=cron,
        execution_timezone=account.automation.timezone,
        default_status=status,
        description=f"Loads {_names(_of_cadence(account, cadence))}. Skips a tick while its last run is unfinished.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        runs = context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1)
        if runs:
            state = runs[0].status.value.lower().replace("_", " ")
            return dg.SkipReason(f"The run {runs[0].run_id[:8]} of {job} is still {state}: this tick is skipped.")
        return dg.RunRequest()

    return tick


def _of_cadence(account: Account, cadence: Cadence) -> list[Resource]:
    return [resource for resource in account.resources if resource.cadence == cadence]


def _names(resources: Iterable[Resource]) -> str:
    return ", ".join(resource.name for resource in resources)
