"""Words for numbers and times, in messages that people read."""

from datetime import timedelta


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return `count`, with separators, and what it counts: `1 row`, `2,500 rows`, `2 searches`."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def lasting(time: timedelta) -> str:
    """Return `time` in the two largest units that matter: `3 d 4 h`, `2 h 5 min`, `12 min`."""
    hours, minutes = divmod(round(time.total_seconds() / 60), 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
