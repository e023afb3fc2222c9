"""What is missing because the CRM was down, or because a run broke off, is loaded again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import dagster as dg
from pydantic import BaseModel

from crm_assets.account import Account
from crm_assets.errors import SettingError
from crm_assets.orchestration.keys import api_resource, job_names, main_job
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.run_history import LastLoad, last_loads
from crm_assets.orchestration.run_reaper import HeartbeatMonitor, Silences
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
_AGAIN = 3
"""How often what a run did not load is requested again when one run after the other breaks off."""
_NO_RETRIES = {"dagster/max_retries": "0"}
"""Or else Dagster would try each of these runs again, without a pause."""


class Outage(BaseModel):
    """A time during which one resource is missing."""

    since: datetime
    asked: int = 0
    """How often the CRM was probed."""
    ask_at: datetime
    """When it is probed, or a run requested that takes the place of the one that broke off."""
    broken_off: int = 0
    """How many runs in a row broke off."""
    run_id: str = ""
    """The last of these."""

    @property
    def pause(self) -> timedelta:
        """How long to wait before the next probe: twice as long each time, a quarter of an hour at the most."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.asked, 10))

    def after(self, load: LastLoad, resource: str, now: datetime) -> "Outage":
        """Return the outage as it is when the last load of `resource` is `load`."""
        if not _broke_off(load, resource):
            return self.model_copy(update={"broken_off": 0}) if load.ending == "failed" else self
        if load.run_id == self.run_id:
            return self
        ask_at = now + _FIRST_PAUSE * 4.0 ** min(self.broken_off, _AGAIN)
        return self.model_copy(update={"broken_off": self.broken_off + 1, "run_id": load.run_id, "ask_at": ask_at})


class RecoveryCursor(BaseModel):
    """What the sensor remembers."""

    outages: dict[str, Outage] = {}
    """Of each resource that is missing."""
    seen: Silences = Silences()
    """Of the runs that work."""


def recovery_sensor(account: Account) -> dg.SensorDefinition:
    """Return the sensor that loads what is missing because the CRM was down, or because a run broke off."""

    @dg.sensor(
        name=f"{account.name}_recovery",
        job_name=main_job(account),
        minimum_interval_seconds=_TICK,
        default_status=sensor_status(account),
        description="Reloads resources that failed because the CRM was down, as soon as it responds again, and those "
        "that a run did not load because its process or machine died.",
        required_resource_keys={api_resource(account)},
    )
    def recovery(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = parse_cursor(RecoveryCursor, context.cursor) or RecoveryCursor()
        monitor, origin = HeartbeatMonitor(cursor.seen, job_names(account)), context.code_location_origin
        # This clock stands still while the machine sleeps, and nobody sets it.
        monitor.reap(context.instance, monotonic(), origin.location_name if origin else None)
        cursor.seen = monitor.seen
        return recover(context.instance, getattr(context.resources, api_resource(account)), cursor)

    return recovery


def recover(instance: dg.DagsterInstance, crm_api: CrmApi, cursor: RecoveryCursor) -> dg.SensorResult:
    """Request a run for what is missing.

    What was unavailable is probed first, with growing pauses, and requested when it answers.

    Args:
        instance: with the history of runs.
        crm_api: the CRM.
        cursor: what the sensor remembers; it is changed.
    """
    now = datetime.now(UTC)
    before = cursor.outages
    loads = last_loads(instance, crm_api.account)
    missing = [name for name, load in loads.items() if _is_missing(load, name, before.get(name))]
    known = {name: before.get(name) or Outage(since=now, ask_at=now) for name in missing}
    cursor.outages = outages = {name: outage.after(loads[name], name, now) for name, outage in known.items()}
    if not missing:
        return _skip(cursor, ["no table is missing because of a CRM that was down or a run that broke off"])
    waiting = {
        name: why for name, outage in outages.items() if (why := _reason_to_wait(outage, loads[name], name, now))
    }
    said = _together(waiting)
    requests = []
    if broken := [name for name in missing if name not in waiting and _broke_off(loads[name], name)]:
        requests.append(_request(crm_api.account, broken, loads, _NO_RETRIES))
    if due := [name for name in missing if name not in waiting and name not in broken]:
        back, wrong = _probed(crm_api, due, outages, now)
        if back:
            requests.append(_request(crm_api.account, back, loads))
        else:
            said = [wrong, *said]
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor.model_dump_json())
    return _skip(cursor, said)


def _probed(crm_api: CrmApi, due: Sequence[str], outages: Mapping[str, Outage], now: datetime) -> tuple[list[str], str]:
    """Return which of the resources `due` answer, and what is wrong if none does."""
    try:
        probes = probe(crm_api, due)
    except SettingError as error:
        return [], str(error)
    refused = any(map(refuses_login, probes))
    for name in due if refused else [one.resource for one in probes]:
        outage = outages[name]
        outage.ask_at = now + (AFTER_A_REFUSAL if refused else outage.pause)
        outage.asked += 1
    again = min(outages[name].ask_at for name in due)
    wrong = f"the CRM is not back ({what_is_wrong(probes)}); next probe at {again:%H:%M:%S} UTC"
    return [one.resource for one in probes if one.error is None], f"{', '.join(due)}: {wrong}"


def _request(
    account: Account, names: Sequence[str], loads: Mapping[str, LastLoad], tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    """Return the request of the one run that takes the place of those that did not load the resources `names`."""
    runs = ",".join(sorted({loads[name].run_id[:8] for name in names}))
    return run_request(account, names, f"{runs}:{','.join(names)}", tags)


def _reason_to_wait(outage: Outage, load: LastLoad, resource: str, now: datetime) -> str | None:
    hint = "load it by hand, or let its schedule do it"
    if load.ending == "running":
        return "a run is loading it"
    if load.will_retry:
        return "Dagster will try the run again"
    if _broke_off(load, resource):
        if outage.broken_off > _AGAIN:
            return f"given up, {outage.broken_off} runs in a row broke off; see why in the last one, then {hint}"
        return f"next run at {outage.ask_at:%H:%M:%S} UTC, the last one broke off" if now < outage.ask_at else None
    if now > outage.since + _PATIENCE:
        return f"given up, a day after {outage.since:%Y-%m-%d %H:%M} UTC. No more probes: {hint}"
    return f"next probe at {outage.ask_at:%H:%M:%S} UTC" if now < outage.ask_at else None


def _together(waiting: Mapping[str, str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, why in waiting.items():
        names.setdefault(why, []).append(name)
    return [f"{', '.join(some)}: {why}" for why, some in names.items()]


def _broke_off(load: LastLoad, resource: str) -> bool:
    """Return whether the last run could not even say why it failed: its process or its machine died."""
    return load.ending == "failed" and load.failure is not None and load.failure.reason_of(resource) is None


def _is_missing(load: LastLoad, resource: str, outage: Outage | None) -> bool:
    """Return whether the last load of `resource` failed for a reason that passes without a person.

    While another run loads it, it stays missing; also after a person has ended that run, if the CRM was down before.
    """
    if load.ending == "failed" and load.failure:
        return _broke_off(load, resource) or load.failure.reason_of(resource) == "unavailable"
    if outage is None:
        return False
    return load.ending == "running" or load.will_retry or (load.ending == "unknown" and not outage.broken_off)


def _skip(cursor: RecoveryCursor, why: Sequence[str]) -> dg.SensorResult:
    text = " ".join(f"{one[:1].upper()}{one[1:]}." for one in why)
    return dg.SensorResult(skip_reason=dg.SkipReason(text), cursor=cursor.model_dump_json())
