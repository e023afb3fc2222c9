"""What the CRM sends back may hold the login, in any of the ways in which programs write it."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` without `secrets`: plain, in an address, escaped as in JSON, in base64 or in hex."""
    pattern, _ = _forms(secrets)
    return pattern.sub(MASK, text) if pattern else text


def redacted_excerpt(body: bytes, length: int, secrets: tuple[str, ...]) -> str:
    """Return the first `length` characters of `body`, redacted; no part of a secret that the cut goes through."""
    _, longest = _forms(secrets)
    window = body[: 8 * (length + longest)]
    text = redacted(window.decode(errors="replace"), secrets)
    return (text if len(window) == len(body) else text[: max(0, len(text) - longest)])[:length]


@lru_cache(maxsize=64)
def _forms(secrets: tuple[str, ...]) -> tuple[re.Pattern[str] | None, int]:
    forms = {form for secret in secrets if secret for form in (*_written(secret), *_base64(secret))}
    ordered = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, ordered)), re.IGNORECASE) if ordered else None
    return pattern, max(map(len, ordered), default=0)


def _written(secret: str) -> Iterator[str]:
    for text in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
        yield text
        yield text.replace("/", "\\/")
    yield secret.encode().hex()
    yield secret.encode().hex(" ")
    yield secret.encode().hex(":")
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)


def _base64(secret: str) -> Iterator[str]:
    if secret:
        # Its last character depends on what follows.
        encoded = b64encode(secret.encode()).decode().rstrip("=")[:-1]
        yield encoded
        yield encoded.replace("/", "\\/")
        yield quote(encoded, safe="")
