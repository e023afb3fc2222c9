"""How sensors probe the CRM: briefly, one request at a time, and never for longer than a tick may take."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Timer
from typing import TYPE_CHECKING

import dagster as dg

from crm_assets.account import Account
from crm_assets.errors import Cancelled, CrmUnavailable, LoginRefused
from crm_assets.extract.connection import Connection
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.resources import CrmApi

if TYPE_CHECKING:
    from crm_assets.extract.probe import Probe

AFTER_A_REFUSAL = timedelta(hours=1)
"""How long no request is sent: a login that is refused again and again can lock the account."""
TICK_SECONDS = 45.0
"""How long the requests of a tick may take; Dagster itself gives up on a tick after 60 s."""
_CONNECT = 5.0
_READ = 10.0


def sensor_status(account: Account) -> dg.DefaultSensorStatus:
    """Return whether the sensors of `account` run from the start."""
    return dg.DefaultSensorStatus.RUNNING if account.automation.enabled else dg.DefaultSensorStatus.STOPPED


def probe(crm_api: CrmApi, names: Sequence[str], tick_seconds: float = TICK_SECONDS) -> "list[Probe]":
    """Request the first page of the resources `names`, one after the other.

    A CRM that refuses the login gets one request.

    Args:
        crm_api: the CRM.
        names: names of the resources, in the order of the requests.
        tick_seconds: how long all requests may take together.

    Raises:
        SettingError: a setting is missing or malformed.
    """
    from crm_assets.extract.probe import Probe, probe_resources

    resources = [crm_api.account.resource(name) for name in names]
    probes: list[Probe] = []
    with crm_api.connect() as connection, _briefly(connection, tick_seconds) as brief:
        try:
            for one in probe_resources(resources, brief, crm_api.account.api):
                probes.append(one)
                if refuses_login(one):
                    break
        except Cancelled:
            unanswered = names[len(probes)]
            why = f"no whole response within the {tick_seconds:.0f} s of a tick"
            probes.append(Probe(unanswered, tick_seconds, error=CrmUnavailable(unanswered, why, "")))
    return probes


def refuses_login(probe: "Probe") -> bool:
    """Return whether the login as such was refused, for whatever is requested."""
    return isinstance(probe.error, LoginRefused) and probe.error.status == 401


def what_is_wrong(probes: "Sequence[Probe]") -> str:
    """Return the first error among `probes` and how many others there are; empty if there is none."""
    errors = [one.error for one in probes if one.error]
    if not errors:
        return ""
    others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{errors[0].resource}: {errors[0].why}{others}"


def run_request(
    account: Account, names: Sequence[str], run_key: str, tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    """Return the request of a run that loads the resources `names` and checks their tables."""
    keys = [asset_key(account, name) for name in names]
    return dg.RunRequest(
        run_key=run_key,
        tags=tags,
        asset_selection=keys,
        asset_check_keys=[spec.key for spec in check_specs(account) if spec.asset_key in keys],
    )


@contextmanager
def _briefly(connection: Connection, tick_seconds: float) -> Iterator[Connection]:
    brief = replace(connection, connect_timeout=_CONNECT, read_timeout=_READ, answer_seconds=_READ)
    timer = Timer(tick_seconds, brief.cancelled.set)
    timer.daemon = True
    timer.start()
    try:
        yield brief
    finally:
        timer.cancel()
