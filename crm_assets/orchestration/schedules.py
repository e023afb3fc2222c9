"""When each cadence is due. The crons are settings: `automation.frequent_cron`, `automation.daily_cron`."""

from collections.abc import Mapping
from functools import cache

import dagster as dg
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_schedule  # the scheduler's own reading of it

from crm_assets.account import Account
from crm_assets.apis.api_config import Cadence
from crm_assets.errors import SettingError
from crm_assets.orchestration.freshness import ANY_MONDAY
from crm_assets.orchestration.jobs import names_of, of_cadence
from crm_assets.orchestration.keys import cadence_job
from crm_assets.orchestration.run_history import UNFINISHED
from crm_assets.orchestration.spread_crons import spread_cron
from crm_assets.settings import AutomationSettings


def build_schedules(account: Account) -> list[dg.ScheduleDefinition]:
    """Return a schedule for the job of each cadence that has resources."""
    return [
        _schedule(account, cadence, cron) for cadence, cron in crons(account).items() if of_cadence(account, cadence)
    ]


def schedule_name(account: Account, cadence: Cadence) -> str:
    """Return the name of the schedule of `cadence`."""
    return f"{cadence_job(account, cadence)}_schedule"


def crons(account: Account) -> Mapping[Cadence, str]:
    """Return the cron of each cadence, with numbers where the settings have `H`.

    Raises:
        SettingError: one is not a cron.
    """
    written: dict[Cadence, str] = {
        "frequent": account.automation.frequent_cron,
        "daily": account.automation.daily_cron,
    }
    found: dict[Cadence, str] = {}
    for cadence, cron in written.items():
        try:
            found[cadence] = spread_cron(cron, account.name)
        except ValueError as error:
            problem = f"{cron!r}: {error}"
            raise SettingError(
                AutomationSettings.explain(account.name, f"{cadence}_cron", "value_error", problem)
            ) from None
        if not is_valid_cron_schedule(found[cadence]) or not _is_ever_due(found[cadence]):
            problem = f"{cron!r} is not a cron expression of five fields, such as */15 * * * *"
            raise SettingError(AutomationSettings.explain(account.name, f"{cadence}_cron", "value_error", problem))
    return found


def _schedule(account: Account, cadence: Cadence, cron: str) -> dg.ScheduleDefinition:
    job = cadence_job(account, cadence)
    status = dg.DefaultScheduleStatus.RUNNING if account.automation.enabled else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=schedule_name(account, cadence),
        job_name=job,
        cron_schedule=cron,
        execution_timezone=account.automation.timezone,
        default_status=status,
        description=f"Loads {names_of(of_cadence(account, cadence))}. Skips a tick while its last run is unfinished.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        runs = context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1)
        if runs:
            state = runs[0].status.value.lower().replace("_", " ")
            return dg.SkipReason(f"The run {runs[0].run_id[:8]} of {job} is still {state}: this tick is skipped.")
        return dg.RunRequest()

    return tick


@cache
def _is_ever_due(cron: str) -> bool:
    try:
        next(cron_string_iterator(ANY_MONDAY.timestamp(), cron, "UTC"))
    except ValueError:
        return False
    return True
