"""What an incremental listing asks for: only the records that changed since the newest one in the warehouse."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import Endpoint, Incremental
from crm_assets.apis.expressions import EXPANDED
from crm_assets.apis.texts import with_texts
from crm_assets.errors import CrmError, UnexpectedResponse
from crm_assets.models.values import MILLISECONDS_FROM, to_timestamp

_EXPRESSION = re.compile(r"\{incremental\.(start_value|last_value|initial_value|end_value)\}")


@dataclass(frozen=True)
class KnownRecords:
    """The rows that the warehouse has from the start on. Their children are there too, unless a record has changed."""

    key: tuple[str, ...]
    """The fields of the primary key."""
    cursor: tuple[str, ...]
    """The fields that grow with each change."""
    rows: Mapping[tuple[str, ...], tuple[datetime | None, ...]]
    """The values of `cursor` by those of `key`, as text."""

    def has(self, record: Any) -> bool:
        """Return whether a record, as the CRM sent it, is as it was."""
        if not isinstance(record, Mapping):
            return False
        found = self.rows.get(tuple(str(record.get(field)) for field in self.key))
        try:
            return found == tuple(_moment(record.get(field)) for field in self.cursor)
        except ValueError:
            return False


def _moment(value: Any) -> datetime | None:
    return None if value is None else to_timestamp(value)


@dataclass(frozen=True)
class Start:
    """Where an incremental listing begins."""

    value: Any
    """What the CRM is asked with; None where it is the parent that is asked for what is new."""
    text: str
    """The same for a reader."""
    known: KnownRecords | None = None
    """What the warehouse has from there on; None where that cannot be said."""

    def __str__(self) -> str:
        return self.text


def is_refusal(error: CrmError) -> bool:
    """Return whether the CRM does not say what is new, or not to the end, and may well answer other requests."""
    if error.status in (401, 429):
        return False
    return isinstance(error, UnexpectedResponse) or (error.status or 0) >= 400


def start_value(incremental: Incremental, newest: Any, look_back: float) -> Any:
    """Return the value from which an incremental listing is asked for, written like the `initial_value`.

    Args:
        incremental: what the configuration says.
        newest: the newest value in the warehouse.
        look_back: seconds by which it begins earlier, for a time; what `lag` says goes before it.
    """
    lag = incremental.get("lag")
    if isinstance(newest, datetime):
        return _written(newest - timedelta(seconds=look_back if lag is None else lag), incremental.get("initial_value"))
    return newest - lag if lag and isinstance(newest, int | float) else newest


def _written(moment: datetime, like: Any) -> Any:
    """Return `moment` as `like` is written: a number of seconds or milliseconds, a date, or a time in ISO 8601."""
    moment = moment.astimezone(UTC)
    match like:
        case bool() | None:
            pass
        case int() | float():
            return int(moment.timestamp() * (1000 if abs(like) >= MILLISECONDS_FROM else 1))
        case str() if len(like) == len("2024-01-01"):
            return moment.date().isoformat()
        case datetime():
            return moment
        case date():
            return moment.date()
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def with_start(resource: Resource, start: Any = None) -> Resource:
    """Return `resource` as it is asked for from `start` on; for None from its `initial_value`, for a full listing.

    What the configuration says of `incremental` is then in its parameters, path and body. Where other endpoints say
    what is newer, `start` puts them in the place of the one for the full listing.
    """
    incremental = resource.incremental
    if incremental is None:
        return resource
    newer, values = incremental.get("endpoints"), _values(incremental, start)
    if newer and start is not None:
        first, *more = (cast(Endpoint, _expanded_endpoint(one, values)) for one in newer)
        return replace(resource, endpoint=first, more_endpoints=tuple(more))
    endpoint = _expanded_endpoint(resource.endpoint, values)
    params = {name: value for name, value in endpoint.get("params", {}).items() if not _is_incremental(value)}
    asked = {incremental.get("start_param"): values["start_value"], incremental.get("end_param"): values["end_value"]}
    params |= {name: value for name, value in asked.items() if name and value is not None}
    return replace(resource, endpoint=cast(Endpoint, {**endpoint, "params": params}))


def _values(incremental: Incremental, start: Any) -> dict[str, Any]:
    """Return the value of each expression that a request may hold."""
    convert = incremental.get("convert") or (lambda value: value)
    begin = incremental.get("initial_value") if start is None else start
    given = {
        "start_value": begin,
        "last_value": begin,
        "initial_value": incremental.get("initial_value"),
        "end_value": incremental.get("end_value"),
    }
    return {name: None if value is None else convert(value) for name, value in given.items()}


def _expanded_endpoint(endpoint: Endpoint, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        word: _expanded(value, values) if word in EXPANDED else value
        for word, value in endpoint.items()
        if word != "incremental"
    }


def _expanded(value: Any, values: Mapping[str, Any]) -> Any:
    def with_values(text: str) -> Any:
        if whole := _EXPRESSION.fullmatch(text):
            return values[whole[1]]
        return _EXPRESSION.sub(lambda match: str(values[match[1]]), text)

    return with_texts(value, with_values)


def _is_incremental(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "incremental"
