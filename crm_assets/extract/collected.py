"""Lists of the parents under which a record was found: as sorted sets of texts, which no order of requests changes."""

from collections.abc import Iterable
from typing import Any

import orjson


def with_member(found: Any, value: Any) -> Any:
    """Return the list `found`, which the record says itself, with `value`; what is no list stays as it is."""
    if found in (None, ""):
        return [str(value)]
    return sorted({*map(str, found), str(value)}) if isinstance(found, list) else found


def merged(texts: Iterable[str | None]) -> str | None:
    """Return the lists in `texts`, each as JSON, as one; of something else than lists the last one.

    Args:
        texts: the lists as a column of JSON has them; None for none.
    """
    values = [orjson.loads(text) for text in texts if text is not None]
    lists = [value for value in values if isinstance(value, list)]
    if not values or len(lists) < len(values):
        return orjson.dumps(values[-1]).decode() if values else None
    return orjson.dumps(sorted({str(member) for one in lists for member in one})).decode()
