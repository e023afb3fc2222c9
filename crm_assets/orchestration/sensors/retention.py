"""Old runs are deleted from Dagster's history, which Dagster itself keeps for good."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from crm_assets.account import Account
from crm_assets.orchestration.by_products import by_product_specs
from crm_assets.orchestration.keys import asset_key, cadence_job, checks_job, main_job
from crm_assets.orchestration.sensors.crm_probe import sensor_status
from crm_assets.text import counted

_TICK = 600
"""Seconds between two ticks."""
_AT_ONCE = 50
"""Runs that one tick deletes at the most: each takes Dagster some hundredths of a second."""
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def retention_sensor(account: Account) -> dg.SensorDefinition:
    """Return the sensor that deletes old runs of the jobs of `account`, and of no others."""
    keep_days, keep_runs = account.automation.keep_days, account.automation.keep_runs

    @dg.sensor(
        name=f"{account.name}_retention",
        minimum_interval_seconds=_TICK,
        default_status=sensor_status(account),
        description=f"Deletes runs of {account.name}'s jobs that are older than {keep_days} days, and all but the last "
        f"{keep_runs:,} of each job. The last run of each table stays.",
    )
    def retention(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        deleted = delete_old_runs(context.instance, account, datetime.now(UTC))
        return dg.SkipReason(f"{counted(deleted, 'run')} deleted.")

    return retention


def delete_old_runs(instance: dg.DagsterInstance, account: Account, now: datetime) -> int:
    """Delete finished runs that `automation.keep_days` or `automation.keep_runs` no longer keep; return how many."""
    in_use = _last_runs(instance, account)
    deleted = 0
    for run_id in _old_runs(instance, account, now - timedelta(days=account.automation.keep_days)):
        if run_id not in in_use:
            instance.delete_run(run_id)
            deleted += 1
        if deleted == _AT_ONCE:
            break
    return deleted


def _old_runs(instance: dg.DagsterInstance, account: Account, oldest: datetime) -> Iterator[str]:
    jobs = [main_job(account), checks_job(account), cadence_job(account, "frequent"), cadence_job(account, "daily")]
    for job in jobs:
        finished = dg.RunsFilter(job_name=job, statuses=_FINISHED)
        newest = instance.get_run_ids(finished, limit=account.automation.keep_runs)
        if len(newest) == account.automation.keep_runs:
            yield from instance.get_run_ids(finished, limit=_AT_ONCE, cursor=newest[-1])
        too_old = dg.RunsFilter(job_name=job, statuses=_FINISHED, created_before=oldest)
        yield from instance.get_run_ids(too_old, limit=_AT_ONCE)


def _last_runs(instance: dg.DagsterInstance, account: Account) -> set[str]:
    """Return the runs that say how the last load of a table ended, and when it last landed."""
    keys = [asset_key(account, resource.name) for resource in account.resources]
    keys += [spec.key for spec in by_product_specs(account)]
    entries = [record.asset_entry for record in instance.get_asset_records(keys)]
    landed = [entry.last_materialization.run_id for entry in entries if entry.last_materialization]
    return {*landed, *(entry.last_run_id for entry in entries if entry.last_run_id)}
