"""`crm_recovery`: what a CRM that was down could not give is loaded as soon as it is back."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import BaseModel

from crm_assets.dead_runs import end_dead_runs
from crm_assets.errors import SettingError
from crm_assets.history import being_loaded, latest_by_resource
from crm_assets.jobs import MAIN_JOB
from crm_assets.resources import CrmApi
from crm_assets.sensors.asking import SWITCH, ask, request, what_is_wrong

_TICK = 15
"""Seconds between two looks at the runs; the CRM is asked more rarely, see `Outage.pause`."""
_FIRST_PAUSE = timedelta(seconds=15)
_LONGEST_PAUSE = timedelta(minutes=15)
_PATIENCE = timedelta(days=1)


class Outage(BaseModel):
    """A time during which the CRM does not answer: the sensor's cursor."""

    since: datetime
    asked: int = 0
    """How often it was asked whether it is back."""
    ask_at: datetime

    @property
    def pause(self) -> timedelta:
        """How long to wait before it is asked again: twice as long each time, a quarter of an hour at the most."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.asked, 10))


@dg.sensor(
    name="crm_recovery",
    job_name=MAIN_JOB,
    minimum_interval_seconds=_TICK,
    default_status=SWITCH,
    description="Loads what is missing because the CRM was down, as soon as it answers again.",
)
def crm_recovery(context: dg.SensorEvaluationContext, crm_api: CrmApi) -> dg.SensorResult:
    """Ask a CRM that was unavailable, with growing pauses, and request the resources that answer.

    Runs whose process was killed are ended first, so that the queue does not wait for them.
    """
    now = datetime.now(UTC)
    end_dead_runs(context.instance)
    missing = _missing(context.instance)
    if not missing:
        return _skip(None, "no table is missing because of a CRM that was down")
    outage = Outage.model_validate_json(context.cursor) if context.cursor else Outage(since=now, ask_at=now)
    names = ", ".join(missing)
    if why := _reason_to_wait(outage, missing.keys() & being_loaded(context.instance), now):
        return _skip(outage, f"{names}: {why}")
    try:
        answers = ask(crm_api, list(missing))
    except SettingError as error:
        return _skip(outage, str(error))
    outage.ask_at = now + outage.pause
    outage.asked += 1
    back = [answer.resource for answer in answers if answer.error is None]
    if not back:
        again = f"asked again at {outage.ask_at:%H:%M:%S} UTC"
        return _skip(outage, f"{names}: the CRM is not back ({what_is_wrong(answers)}); {again}")
    runs = ",".join(sorted({missing[name][:8] for name in back}))
    return dg.SensorResult(run_requests=[request(back, f"{runs}:{','.join(back)}")], cursor=outage.model_dump_json())


def _reason_to_wait(outage: Outage, busy: Collection[str], now: datetime) -> str | None:
    if now > outage.since + _PATIENCE:
        hint = "No more asking: load them by hand, or let their schedule do it"
        return f"given up, a day after {outage.since:%Y-%m-%d %H:%M} UTC. {hint}"
    if busy:
        return f"a run is about {', '.join(sorted(busy))} at the moment"
    if now < outage.ask_at:
        return f"the CRM is asked again at {outage.ask_at:%H:%M:%S} UTC"
    return None


def _missing(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the resources whose last load failed because the CRM was unavailable, and the run that failed."""
    latest = latest_by_resource(instance)
    return {name: run.run_id for name, run in latest.items() if run.missing.get(name) == "unavailable"}


def _skip(outage: Outage | None, why: str) -> dg.SensorResult:
    return dg.SensorResult(
        skip_reason=dg.SkipReason(f"{why[:1].upper()}{why[1:]}."), cursor=outage.model_dump_json() if outage else ""
    )
