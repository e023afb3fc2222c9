"""`crm_recovery`: what a CRM that was down could not give is loaded as soon as it is back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import BaseModel, RootModel

from crm_assets.errors import SettingError
from crm_assets.orchestration.jobs import MAIN_JOB
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.run_history import being_loaded, latest_by_resource
from crm_assets.orchestration.run_reaper import reap_dead_runs
from crm_assets.orchestration.sensors.crm_probe import (
    AFTER_A_REFUSAL,
    SWITCH,
    ask,
    refuses_login,
    request,
    what_is_wrong,
)
from crm_assets.orchestration.sensors.cursors import known

_TICK = 15
"""Seconds between two looks at the runs; the CRM is asked more rarely, see `Outage.pause`."""
_FIRST_PAUSE = timedelta(seconds=15)
_LONGEST_PAUSE = timedelta(minutes=15)
_PATIENCE = timedelta(days=1)


class Outage(BaseModel):
    """A time during which the CRM does not answer for one resource."""

    since: datetime
    asked: int = 0
    """How often it was asked whether it is back."""
    ask_at: datetime

    @property
    def pause(self) -> timedelta:
        """How long to wait before it is asked again: twice as long each time, a quarter of an hour at the most."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.asked, 10))


class Outages(RootModel[dict[str, Outage]]):
    """The outage of each resource that is missing: the sensor's cursor."""

    root: dict[str, Outage] = {}


@dg.sensor(
    name="crm_recovery",
    job_name=MAIN_JOB,
    minimum_interval_seconds=_TICK,
    default_status=SWITCH,
    description="Loads what is missing because the CRM was down, as soon as it answers again.",
)
def crm_recovery(context: dg.SensorEvaluationContext, crm_api: CrmApi) -> dg.SensorResult:
    """Ask for what was unavailable, with growing pauses, and request the resources that answer.

    Runs whose process was killed are ended first, so that the queue does not wait for them.
    """
    now = datetime.now(UTC)
    reap_dead_runs(context.instance)
    missing = _missing(context.instance)
    if not missing:
        return _skip(Outages(), ["no table is missing because of a CRM that was down"])
    before = known(Outages, context.cursor) or Outages()
    outages = Outages({name: before.root.get(name) or Outage(since=now, ask_at=now) for name in missing})
    busy = being_loaded(context.instance)
    waiting = {name: why for name, one in outages.root.items() if (why := _reason_to_wait(one, name in busy, now))}
    due = [name for name in missing if name not in waiting]
    said = _together(waiting)
    if not due:
        return _skip(outages, said)
    try:
        answers = ask(crm_api, due)
    except SettingError as error:
        return _skip(outages, [str(error)])
    refused = any(map(refuses_login, answers))
    for name in due if refused else [answer.resource for answer in answers]:
        one = outages.root[name]
        one.ask_at = now + (AFTER_A_REFUSAL if refused else one.pause)
        one.asked += 1
    back = [answer.resource for answer in answers if answer.error is None]
    if not back:
        again = min(outages.root[name].ask_at for name in due)
        wrong = f"the CRM is not back ({what_is_wrong(answers)}); asked again at {again:%H:%M:%S} UTC"
        return _skip(outages, [f"{', '.join(due)}: {wrong}", *said])
    runs = ",".join(sorted({missing[name][:8] for name in back}))
    return dg.SensorResult(run_requests=[request(back, f"{runs}:{','.join(back)}")], cursor=outages.model_dump_json())


def _reason_to_wait(outage: Outage, is_busy: bool, now: datetime) -> str | None:
    if now > outage.since + _PATIENCE:
        hint = "No more asking: load them by hand, or let their schedule do it"
        return f"given up, a day after {outage.since:%Y-%m-%d %H:%M} UTC. {hint}"
    if is_busy:
        return "a run is about to load it"
    if now < outage.ask_at:
        return f"the CRM is asked again at {outage.ask_at:%H:%M:%S} UTC"
    return None


def _together(waiting: Mapping[str, str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, why in waiting.items():
        names.setdefault(why, []).append(name)
    return [f"{', '.join(some)}: {why}" for why, some in names.items()]


def _missing(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the resources whose last load failed because the CRM was unavailable, and the run that failed."""
    latest = latest_by_resource(instance)
    return {name: run.run_id for name, run in latest.items() if run.missing.get(name) == "unavailable"}


def _skip(outages: Outages, why: Sequence[str]) -> dg.SensorResult:
    text = " ".join(f"{one[:1].upper()}{one[1:]}." for one in why)
    return dg.SensorResult(skip_reason=dg.SkipReason(text), cursor=outages.model_dump_json() if outages.root else "")
