"""`crm_changes`: changes of the CRM arrive before their schedule does."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel

from crm_assets.errors import SettingError
from crm_assets.extract.probe import Probe
from crm_assets.orchestration.jobs import MAIN_JOB
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.run_history import being_loaded
from crm_assets.orchestration.sensors.crm_probe import (
    AFTER_A_REFUSAL,
    SWITCH,
    ask,
    refuses_login,
    request,
    what_is_wrong,
)
from crm_assets.orchestration.sensors.cursors import known
from crm_assets.settings import AutomationSettings

_settings = AutomationSettings.read()


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


@dg.sensor(
    name="crm_changes",
    job_name=MAIN_JOB,
    minimum_interval_seconds=_settings.change_interval,
    default_status=SWITCH,
    description="Asks the CRM for the first page of each resource, and loads those that have changed.",
)
def crm_changes(context: dg.SensorEvaluationContext, crm_api: CrmApi) -> dg.SensorResult:
    """Request a run for exactly the resources whose first page is another than at the last request."""
    seen = known(Seen, context.cursor) or Seen()
    now = datetime.now(UTC)
    if seen.refused_at and now < seen.refused_at + AFTER_A_REFUSAL:
        return _skip(seen, f"the CRM refused the login at {seen.refused_at:%H:%M} UTC. It is asked again after an hour")
    # What is being loaded at the moment may have been read before the change that would be seen now.
    busy = being_loaded(context.instance)
    try:
        names = _in_turn([name for name in _settings.watch if name not in busy], seen.begin_with)
        answers = ask(crm_api, names)
    except SettingError as error:
        return _skip(seen, str(error))
    seen.begin_with = next((name for name in names if name not in {one.resource for one in answers}), None)
    seen.refused_at = now if any(map(refuses_login, answers)) else None
    pages = {answer.resource: answer.fingerprint() for answer in answers if answer.page is not None}
    changed = [resource for resource, page in pages.items() if seen.fingerprints.get(resource) != page]
    if not changed:
        return _skip(seen, _looked_at(seen, answers, sorted(busy)))
    seen.fingerprints |= {resource: pages[resource] for resource in changed}
    seen.requested += 1
    seen.requested_at = now
    return dg.SensorResult(
        run_requests=[request(changed, _run_key(seen, changed))],
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


def _looked_at(seen: Seen, answers: Sequence[Probe], busy: Sequence[str]) -> str:
    well = [answer for answer in answers if answer.error is None]
    parts = [wrong] if (wrong := what_is_wrong(answers)) else []
    if well:
        seconds = sum(answer.seconds for answer in answers)
        since = f" since {seen.requested_at:%Y-%m-%d %H:%M} UTC" if seen.requested_at else ""
        parts.insert(0, f"asked {len(well)} listing{'s' * (len(well) != 1)} in {seconds:.1f} s, none changed{since}")
    if busy:
        parts.append(f"not asked, because a run loads them: {', '.join(busy)}")
    return "; ".join(parts) or "no resource is watched: automation.watch is empty"
