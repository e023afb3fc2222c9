"""Words for numbers and times, in messages that people read; and what the CRM says, as nothing but text."""

import re
from datetime import timedelta

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


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


def printable(text: str) -> str:
    """Return `text` with what commands a terminal, or turns the direction of writing, as escape sequences."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def markdown_text(text: str) -> str:
    """Return `text` as Markdown that shows it as it is, on one line: no link, image, tag or border of a table."""
    line = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\g<0>", line)
