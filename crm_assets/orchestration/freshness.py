"""How old a table may become before that is a fault: it follows from the cron that loads it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count, takewhile

import dagster as dg
from dagster._utils.schedules import cron_string_iterator  # the scheduler's own reading of it

ANY_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
"""Where the ticks of a cron are counted from."""
_FEWEST, _MOST = 14, 5_000
"""Ticks of a cron that are looked at, for one that is seldom due and for one that is due every minute."""


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
    return list(takewhile(_until_enough(cron), cron_string_iterator(ANY_MONDAY.timestamp(), cron, "UTC")))


def _until_enough(cron: str) -> Callable[[datetime], bool]:
    _, hour, *days = cron.split()
    # After so long, a cron repeats itself: each hour, each day, or with the months.
    horizon = timedelta(days=62 if days != ["*"] * 3 else 8 if hour != "*" else 1)
    seen = count()
    return lambda tick: (number := next(seen)) < _FEWEST or (tick < ANY_MONDAY + horizon and number < _MOST)
