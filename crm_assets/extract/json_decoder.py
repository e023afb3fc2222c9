"""The JSON of a body, also where it is not quite JSON: as much as can be told apart is kept."""

import json
from math import isfinite
from typing import Any

import orjson

from crm_assets.models.nesting import deep_recursion

_AS_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_MOST_DIGITS = 1_000
_BEYOND_64_BITS = (b"0" * 20, b"-" + b"0" * 19)


def parse(body: bytes) -> Any:
    """Return what `body` says.

    Numbers beyond 64 bits keep their digits; one of more than a thousand is text. NaN and Infinity, which JSON does
    not know, become those words. Half of a surrogate pair, as it is left when text is cut, becomes U+FFFD.

    Raises:
        ValueError: it is not JSON, or nested more than a thousand levels deep.
    """
    zeros = body.translate(_AS_ZEROS)
    if not any(beyond in zeros for beyond in _BEYOND_64_BITS):  # orjson would make a double of such a number
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    try:
        with deep_recursion():
            parsed = json.loads(body, parse_constant=str, parse_float=_double, parse_int=_whole_number)
            return _whole_text(parsed) if _may_have_surrogates(body) else parsed
    except RecursionError:
        raise ValueError("nested too deep") from None


def _may_have_surrogates(body: bytes) -> bool:
    return b"\\ud" in body.lower() or b"\0" in body  # escaped, or in UTF-16


def _double(text: str) -> float | str:
    number = float(text)
    return number if isfinite(number) else text


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text  # Python refuses to convert those of more than 4,300


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
