"""`H` in a cron: a number that follows from a name, so that many accounts are not due in the same minute."""

import re
from hashlib import sha256

_FIELDS = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
"""Smallest and largest value of each field; every month has 28 days."""
_H = re.compile(r"H(?:\((\d+)-(\d+)\))?(?:/(\d+))?")


def spread_cron(cron: str, name: str) -> str:
    """Return `cron` with numbers in the place of `H`, the same ones for the same `name`.

    `H` is any value of its field, `H(0-29)` one of these, `H/15` every 15th from a value below 15 on.

    Raises:
        ValueError: a range or a step is none of the field's.
    """
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        return cron
    return " ".join(
        ",".join(_number(one, name, place) for one in field.split(",")) for place, field in enumerate(fields)
    )


def _number(text: str, name: str, place: int) -> str:
    found = _H.fullmatch(text)
    if found is None:
        return text
    lowest, highest = _FIELDS[place]
    first, last = int(found[1] or lowest), int(found[2] or highest)
    step = int(found[3] or 0)
    if not lowest <= first <= last <= highest or (found[3] and not 0 < step <= last - first + 1):
        raise ValueError(f"{text!r} is not within {lowest}-{highest}")
    number = int(sha256(f"{name} {place}".encode()).hexdigest(), 16)
    return f"{first + number % step}-{last}/{step}" if step else str(first + number % (last - first + 1))
