"""When each cadence is due, and how old a table may become before that is a fault."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count, takewhile
from typing import get_args

import dagster as dg
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_schedule  # the scheduler's own reading of it

from crm_assets.account import Account
from crm_assets.apis.api_config import Cadence
from crm_assets.errors import SettingError
from crm_assets.settings import AutomationSettings

CADENCES: tuple[Cadence, ...] = get_args(Cadence)
_ANY_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_FEWEST, _MOST = 14, 5_000
"""Ticks of a cron that are looked at, for one that is seldom due and for one that is due every minute."""


def crons(account: Account) -> Mapping[Cadence, str]:
    """Return the cron of each cadence.

    Raises:
        SettingError: one is not a cron.
    """
    found: dict[Cadence, str] = {
        "frequent": account.automation.frequent_cron,
        "daily": account.automation.daily_cron,
    }
    for cadence, cron in found.items():
        if not is_valid_cron_schedule(cron) or not _is_ever_due(cron):
            problem = f"{cron!r} is not a cron expression of five fields, such as */15 * * * *"
            raise SettingError(AutomationSettings.explain(account.name, f"{cadence}_cron", "value_error", problem))
    return found


@cache
def freshness(cron: str) -> dg.FreshnessPolicy:
    """Return the policy of a table that is loaded at `cron`: a warning after two missed loads, a failure after four."""
    return dg.FreshnessPolicy.time_window(warn_window=longest_span(cron, 2), fail_window=longest_span(cron, 4))


def longest_span(cron: str, loads: int) -> timedelta:
    """Return the longest time in which `loads` ticks of `cron` follow a tick, nights and weekends included."""
    ticks = _ticks(cron)
    return max(later - tick for tick, later in zip(ticks, ticks[loads:], strict=False))


@cache
def _ticks(cron: str) -> list[datetime]:
    return list(takewhile(_until_enough(cron), cron_string_iterator(_ANY_MONDAY.timestamp(), cron, "UTC")))


@cache
def _is_ever_due(cron: str) -> bool:
    try:
        next(cron_string_iterator(_ANY_MONDAY.timestamp(), cron, "UTC"))
    except ValueError:
        return False
    return True


def _until_enough(cron: str) -> Callable[[datetime], bool]:
    _, hour, *days = cron.split()
    # After so long, a cron repeats itself: each hour, each day, or with the months.
    horizon = timedelta(days=62 if days != ["*"] * 3 else 8 if hour != "*" else 1)
    seen = count()
    return lambda tick: (number := next(seen)) < _FEWEST or (tick < _ANY_MONDAY + horizon and number < _MOST)
