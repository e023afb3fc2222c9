"""When each cadence is due, and how old a table may become before that is a fault."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

import dagster as dg
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_schedule  # the scheduler's own reading of it

from crm_assets.api.guide import Cadence
from crm_assets.errors import SettingError
from crm_assets.settings import AutomationSettings

CADENCES: tuple[Cadence, ...] = get_args(Cadence)
_ANY_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_A_WEEK = timedelta(days=8)


def crons(settings: AutomationSettings) -> Mapping[Cadence, str]:
    """Return the cron of each cadence.

    Raises:
        SettingError: one is not a cron.
    """
    found: dict[Cadence, str] = {"frequent": settings.frequent_cron, "daily": settings.daily_cron}
    for cadence, cron in found.items():
        if not is_valid_cron_schedule(cron):
            problem = f"{cron!r} is no cron of five fields, such as */15 * * * *"
            raise SettingError(settings.explain(f"{cadence}_cron", "value_error", problem))
    return found


def freshness(cron: str) -> dg.FreshnessPolicy:
    """Return the policy of a table that is loaded at `cron`: a warning after two missed loads, a failure after four."""
    every = longest_gap(cron)
    return dg.FreshnessPolicy.time_window(warn_window=2 * every, fail_window=4 * every)


def longest_gap(cron: str) -> timedelta:
    """Return the longest time between two ticks of `cron`, weekends included."""
    ticks = cron_string_iterator(_ANY_MONDAY.timestamp(), cron, "UTC")
    longest = timedelta(0)
    for tick, following in pairwise(ticks):
        longest = max(longest, following - tick)
        if following - _ANY_MONDAY > _A_WEEK:
            break
    return longest
