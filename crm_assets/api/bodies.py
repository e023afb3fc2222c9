"""The JSON of a body, also where it is not quite JSON: as much as can be told apart is kept."""

import json
from typing import Any

import orjson

from crm_assets.schemas.nesting import room_for_nesting

_AS_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_BEYOND_64_BITS = b"0" * 20
_SURROGATE = b"\\ud"


def parse(body: bytes) -> Any:
    """Return what `body` says.

    Numbers beyond 64 bits keep their digits. NaN and Infinity, which JSON does not know, become those
    words. Half of a surrogate pair, as it is left when text is cut, becomes U+FFFD.

    Raises:
        ValueError: it is not JSON, or nested more than a thousand levels deep.
    """
    if _BEYOND_64_BITS not in body.translate(_AS_ZEROS):  # orjson would make a double of such a number
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    try:
        with room_for_nesting():
            parsed = json.loads(body, parse_constant=str)
            return _whole_text(parsed) if _SURROGATE in body.lower() else parsed
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole_text(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case list():
            return [_whole_text(one) for one in value]
        case dict():
            return {_whole_text(key): _whole_text(one) for key, one in value.items()}
        case _:
            return value
