"""How sensors ask the CRM: briefly, one request at a time, and never for longer than a tick may take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Timer

import dagster as dg

from crm_assets.apis.api_config import select
from crm_assets.errors import Cancelled, CrmUnavailable, LoginRefused
from crm_assets.extract.connection import Connection
from crm_assets.extract.probe import Probe, probe_resources
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.resources import CrmApi
from crm_assets.settings import AutomationSettings

SWITCH = dg.DefaultSensorStatus.RUNNING if AutomationSettings.read().enabled else dg.DefaultSensorStatus.STOPPED
"""Whether a sensor runs from the start."""
AFTER_A_REFUSAL = timedelta(hours=1)
"""How long nobody asks again: a login that is refused again and again can lock the account."""
_CONNECT = 5.0
_READ = 10.0
_WHOLE_TICK = 45.0
"""Seconds; Dagster itself gives up on a tick after 60."""


def ask(crm_api: CrmApi, resources: Sequence[str]) -> list[Probe]:
    """Ask for the first page of `resources`, one after the other. A CRM that refuses the login is asked once.

    Raises:
        SettingError: a setting is missing or malformed.
    """
    table = crm_api.table()
    rows = [row for name in resources for row in select(table, [name])]
    answers: list[Probe] = []
    with crm_api.connection() as connection, _briefly(connection) as brief:
        try:
            for answer in probe_resources(table, rows, brief):
                answers.append(answer)
                if refuses_login(answer):
                    break
        except Cancelled:
            missing = rows[len(answers)]["name"]
            why = f"no whole answer within the {_WHOLE_TICK:.0f} s of a tick"
            answers.append(Probe(missing, _WHOLE_TICK, error=CrmUnavailable(missing, why, "")))
    return answers


def refuses_login(answer: Probe) -> bool:
    """Return whether the login as such was refused, for whatever is asked."""
    return isinstance(answer.error, LoginRefused) and answer.error.status == 401


def what_is_wrong(answers: Sequence[Probe]) -> str:
    """Return the first error among `answers` and how many others there are; empty if there is none."""
    errors = [answer.error for answer in answers if answer.error]
    if not errors:
        return ""
    others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{errors[0].resource}: {errors[0].why}{others}"


@contextmanager
def _briefly(connection: Connection) -> Iterator[Connection]:
    brief = replace(connection, connect_timeout=_CONNECT, read_timeout=_READ, answer_seconds=_READ)
    timer = Timer(_WHOLE_TICK, brief.cancelled.set)
    timer.daemon = True
    timer.start()
    try:
        yield brief
    finally:
        timer.cancel()


def request(resources: Sequence[str], run_key: str) -> dg.RunRequest:
    """Return the request of a run that loads `resources` and judges their tables."""
    keys = [asset_key(resource) for resource in resources]
    return dg.RunRequest(
        run_key=run_key,
        asset_selection=keys,
        asset_check_keys=[spec.key for spec in check_specs() if spec.asset_key in keys],
    )
