"""Changes of the CRM arrive before their schedule does."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel

from crm_assets.account import Account
from crm_assets.errors import SettingError
from crm_assets.orchestration.keys import api_resource, main_job
from crm_assets.orchestration.last_ping import record_ping
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.run_history import last_loads
from crm_assets.orchestration.sensors.crm_probe import (
    AFTER_A_REFUSAL,
    TICK_SECONDS,
    probe,
    refuses_login,
    run_request,
    sensor_status,
    what_is_wrong,
)
from crm_assets.orchestration.sensors.cursors import parse_cursor
from crm_assets.text import counted

if TYPE_CHECKING:
    from crm_assets.extract.probe import Probe


class Seen(BaseModel):
    """What the sensor has seen: its cursor."""

    fingerprints: dict[str, str] = {}
    """Of the first page of each resource, when a load of it was last requested."""
    requested: int = 0
    """How many runs it has requested so far."""
    requested_at: datetime | None = None
    refused_at: datetime | None = None
    begin_with: str | None = None
    """Where the last tick had no time left."""


def changes_sensor(account: Account) -> dg.SensorDefinition:
    """Return the sensor that loads what has changed before its schedule does."""
    watched = _watched(account)

    @dg.sensor(
        name=f"{account.name}_changes",
        job_name=main_job(account),
        minimum_interval_seconds=account.automation.change_interval,
        default_status=sensor_status(account),
        description="Requests the first page of each resource, and loads the resources that have changed.",
        required_resource_keys={api_resource(account)},
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return look_for_changes(context, getattr(context.resources, api_resource(account)), watched)

    return changes


def _watched(account: Account) -> list[str]:
    """Return what the settings name, or else each resource that is one listing, whose first page says something."""
    if account.automation.watch is not None:
        return [one.name for one in account.select(account.automation.watch)] if account.automation.watch else []
    return [one.name for one in account.resources if not one.parents and not one.may_repeat]


def look_for_changes(
    context: dg.SensorEvaluationContext,
    crm_api: CrmApi,
    watched: Sequence[str],
    tick_seconds: float = TICK_SECONDS,
) -> dg.SensorResult:
    """Request a run for exactly those of the resources `watched` whose first page is another than at the last request.

    Args:
        context: of the tick.
        crm_api: the CRM.
        watched: names of the resources.
        tick_seconds: how long all requests may take together.
    """
    seen = parse_cursor(Seen, context.cursor) or Seen()
    now = datetime.now(UTC)
    if seen.refused_at and now < seen.refused_at + AFTER_A_REFUSAL:
        return _skip(seen, f"the CRM refused the login at {seen.refused_at:%H:%M} UTC. The next probe is an hour later")
    # What is being loaded at the moment may have been read before the change that would be seen now.
    loads = last_loads(context.instance, crm_api.account)
    busy = sorted(name for name, load in loads.items() if load.ending == "running")
    names = _in_turn([name for name in watched if name not in busy], seen.begin_with)
    try:
        probes = probe(crm_api, names, tick_seconds)
    except SettingError as error:
        return _skip(seen, str(error))
    record_ping(context.instance, crm_api.account, probes)
    seen.begin_with = next((name for name in names if name not in {one.resource for one in probes}), None)
    seen.refused_at = now if any(map(refuses_login, probes)) else None
    pages = {one.resource: one.fingerprint() for one in probes if one.page is not None}
    changed = [resource for resource, page in pages.items() if seen.fingerprints.get(resource) != page]
    if not changed:
        return _skip(seen, _summary(seen, probes, busy))
    seen.fingerprints |= {resource: pages[resource] for resource in changed}
    seen.requested += 1
    seen.requested_at = now
    return dg.SensorResult(
        run_requests=[run_request(crm_api.account, changed, _run_key(seen, changed))],
        cursor=seen.model_dump_json(),
    )


def _in_turn(names: Sequence[str], first: str | None) -> list[str]:
    place = names.index(first) if first in names else 0
    return [*names[place:], *names[:place]]


def _run_key(seen: Seen, changed: Sequence[str]) -> str:
    # A page can become again what it was, and that is to be loaded too: hence the number.
    return f"{seen.requested}:{','.join(f'{name}={seen.fingerprints[name]}' for name in changed)}"


def _skip(seen: Seen, why: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(f"{why}."), cursor=seen.model_dump_json())


def _summary(seen: Seen, probes: "Sequence[Probe]", busy: Sequence[str]) -> str:
    well = [one for one in probes if one.error is None]
    parts = [wrong] if (wrong := what_is_wrong(probes)) else []
    if well:
        seconds = sum(one.seconds for one in probes)
        since = f" since {seen.requested_at:%Y-%m-%d %H:%M} UTC" if seen.requested_at else ""
        parts.insert(0, f"probed {counted(len(well), 'listing')} in {seconds:.1f} s, none changed{since}")
    if busy:
        parts.append(f"not probed, because a run is loading them: {', '.join(busy)}")
    return "; ".join(parts) or "no resource is watched: automation.watch is empty"
