"""Words for numbers, in messages that people read."""


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return `count`, with separators, and what it counts: `1 row`, `2,500 rows`, `2 searches`."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"
