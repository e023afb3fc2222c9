"""What a CRM that was down could not give is loaded as soon as it is back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import BaseModel, RootModel

from crm_assets.account import Account
from crm_assets.errors import SettingError
from crm_assets.orchestration.keys import api_resource, main_job
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.run_history import LastLoad, last_loads
from crm_assets.orchestration.run_reaper import reap_dead_runs
from crm_assets.orchestration.sensors.crm_probe import (
    AFTER_A_REFUSAL,
    probe,
    refuses_login,
    run_request,
    sensor_status,
    what_is_wrong,
)
from crm_assets.orchestration.sensors.cursors import parse_cursor

_TICK = 15
"""Seconds between two ticks; the CRM is probed more rarely, see `Outage.pause`."""
_FIRST_PAUSE = timedelta(seconds=15)
_LONGEST_PAUSE = timedelta(minutes=15)
_PATIENCE = timedelta(days=1)


class Outage(BaseModel):
    """A time during which the CRM does not answer for one resource."""

    since: datetime
    asked: int = 0
    """How often it was probed."""
    ask_at: datetime

    @property
    def pause(self) -> timedelta:
        """How long to wait before the next probe: twice as long each time, a quarter of an hour at the most."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.asked, 10))


class Outages(RootModel[dict[str, Outage]]):
    """The outage of each resource that is missing: the sensor's cursor."""

    root: dict[str, Outage] = {}


def recovery_sensor(account: Account) -> dg.SensorDefinition:
    """Return the sensor that loads what a CRM that was down could not give."""

    @dg.sensor(
        name=f"{account.name}_recovery",
        job_name=main_job(account),
        minimum_interval_seconds=_TICK,
        default_status=sensor_status(account),
        description="Reloads resources that failed because the CRM was down, as soon as it responds again.",
        required_resource_keys={api_resource(account)},
    )
    def recovery(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return recover(context, getattr(context.resources, api_resource(account)))

    return recovery


def recover(context: dg.SensorEvaluationContext, crm_api: CrmApi) -> dg.SensorResult:
    """Probe what was unavailable, with growing pauses, and request a run for the resources that answer.

    Runs whose process was killed are ended first, so that the queue does not wait for them.
    """
    now = datetime.now(UTC)
    reap_dead_runs(context.instance)
    before = parse_cursor(Outages, context.cursor) or Outages()
    loads = last_loads(context.instance, crm_api.account)
    missing = _missing(loads, before)
    if not missing:
        return _skip(Outages(), ["no table is missing because of a CRM that was down"])
    outages = Outages({name: before.root.get(name) or Outage(since=now, ask_at=now) for name in missing})
    waiting = {
        name: why
        for name, outage in outages.root.items()
        if (why := _reason_to_wait(outage, loads[name].ending == "running", now))
    }
    due = [name for name in missing if name not in waiting]
    said = _together(waiting)
    if not due:
        return _skip(outages, said)
    try:
        probes = probe(crm_api, due)
    except SettingError as error:
        return _skip(outages, [str(error)])
    refused = any(map(refuses_login, probes))
    for name in due if refused else [one.resource for one in probes]:
        outage = outages.root[name]
        outage.ask_at = now + (AFTER_A_REFUSAL if refused else outage.pause)
        outage.asked += 1
    back = [one.resource for one in probes if one.error is None]
    if not back:
        again = min(outages.root[name].ask_at for name in due)
        wrong = f"the CRM is not back ({what_is_wrong(probes)}); next probe at {again:%H:%M:%S} UTC"
        return _skip(outages, [f"{', '.join(due)}: {wrong}", *said])
    runs = ",".join(sorted({loads[name].run_id[:8] for name in back}))
    request = run_request(crm_api.account, back, f"{runs}:{','.join(back)}")
    return dg.SensorResult(run_requests=[request], cursor=outages.model_dump_json())


def _reason_to_wait(outage: Outage, is_busy: bool, now: datetime) -> str | None:
    if now > outage.since + _PATIENCE:
        hint = "No more probes: load them by hand, or let their schedule do it"
        return f"given up, a day after {outage.since:%Y-%m-%d %H:%M} UTC. {hint}"
    if is_busy:
        return "a run is loading it"
    if now < outage.ask_at:
        return f"next probe at {outage.ask_at:%H:%M:%S} UTC"
    return None


def _together(waiting: Mapping[str, str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, why in waiting.items():
        names.setdefault(why, []).append(name)
    return [f"{', '.join(some)}: {why}" for why, some in names.items()]


def _missing(loads: Mapping[str, LastLoad], before: Outages) -> list[str]:
    """Return the resources whose last load failed because the CRM was unavailable.

    While a run loads one of them, or after a person has ended that run, it stays missing.
    """
    return [
        name
        for name, load in loads.items()
        if (load.failure and load.ending == "failed" and load.failure.reason_of(name) == "unavailable")
        or (load.ending in ("running", "unknown") and name in before.root)
    ]


def _skip(outages: Outages, why: Sequence[str]) -> dg.SensorResult:
    text = " ".join(f"{one[:1].upper()}{one[1:]}." for one in why)
    return dg.SensorResult(skip_reason=dg.SkipReason(text), cursor=outages.model_dump_json())
