"""What a response of the CRM, or its absence, means in words. Nothing here sends anything."""

import re
from email.utils import parsedate_to_datetime
from functools import reduce
from http import HTTPStatus
from time import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from dlt.sources.helpers.rest_client.detector import find_response_page_data

from crm_assets.apis.api import Resource
from crm_assets.extract.connection import Connection

_EXCERPT = 120
_KEYS = re.compile(r"(\$|\w+)(\.\w+)*")
"""A selector that names keys only."""
_KINDS = {dict: "an object", str: "a text", bool: "a truth value", int: "a number", float: "a number"}


def body_problem(response: requests.Response, resource: Resource, connection: Connection) -> str | None:
    """Return what is wrong with the body of `response`, without the login; None if `resource` has records in it."""
    content = response.content.lstrip()
    if not content:
        return "an empty body"
    # A body that a response action gives a 204 has no type: the header is that of the body which was not there.
    sent = "" if response.status_code == HTTPStatus.NO_CONTENT else response.headers.get("Content-Type", "")
    content_type = sent.partition(";")[0].strip().lower()
    markup = _markup(content, content_type)
    if content_type and "json" not in content_type and _asks_for_json(resource, connection):
        return f"a response of type {content_type[:_EXCERPT]} instead of JSON{f' ({markup})' if markup else ''}"
    if markup:
        return f"{markup} instead of JSON"
    try:
        body = response.json()
    except ValueError:
        return f"invalid or cut-off JSON ({len(content):,} bytes, beginning {_excerpt(content, connection)})"
    problem = _records_problem(body, resource)
    return f"{problem} ({_excerpt(content, connection)})" if problem else None


def _markup(content: bytes, content_type: str) -> str | None:
    """Return what a body that begins with `<` is, None for another one."""
    if not content.startswith(b"<"):
        return None
    is_xml = content.startswith(b"<?xml") or ("xml" in content_type and "html" not in content_type)
    return "XML" if is_xml else "an HTML page"


def _asks_for_json(resource: Resource, connection: Connection) -> bool:
    """Return whether the configuration itself, in a header `Accept`, asks for JSON and nothing else."""
    headers = [*connection.headers.items(), *resource.endpoint.get("headers", {}).items()]
    accepted = [str(connection.resolve(value)) for name, value in headers if name.lower() == "accept"]
    return bool(accepted) and all("json" in kind.lower() for kind in accepted[-1].split(","))


def _records_problem(body: Any, resource: Resource) -> str | None:
    selector = resource.endpoint.get("data_selector")
    if selector and not _KEYS.fullmatch(selector):  # an expression may well select nothing
        return None
    found = _select(body, selector) if selector else find_response_page_data(body)[1]
    where = f"under `{selector}`" if selector else "of records"
    if isinstance(found, list) or (isinstance(found, dict) and _is_record(found, resource)):
        return None
    if found is None:
        return f"no list {where} in the JSON"
    return f"{_KINDS.get(type(found), 'a value')} instead of a list {where}"


def _select(body: Any, selector: str) -> Any:
    """Return what `selector`, a path of keys joined by dots, finds in `body`; None if nothing is there."""
    keys = [key for key in selector.split(".") if key != "$"]
    return reduce(lambda part, key: part.get(key) if isinstance(part, dict) else None, keys, body)


def _is_record(found: dict[str, Any], resource: Resource) -> bool:
    """Return whether an object in the place of a list is one record, and not what some error says of itself."""
    return all(found.get(field) is not None for field in resource.primary_key)


def retry_after(response: requests.Response) -> float | None:
    """Return how many seconds `response` asks to be left alone; None if it does not."""
    header = response.headers.get("Retry-After", "").strip()
    try:
        if header.isascii() and header.isdigit():
            return float(header)
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def connection_problem(error: requests.RequestException | urllib3.exceptions.HTTPError, connection: Connection) -> str:
    """Return what became of a request that got no whole response."""
    match error:
        case requests.ConnectTimeout():
            return f"no connection within {connection.connect_timeout:g} s"
        case requests.ReadTimeout() | urllib3.exceptions.ReadTimeoutError():
            return f"no answer within {connection.read_timeout:g} s"
        case requests.exceptions.ProxyError():
            return f"the proxy did not connect ({reason_of(error)})"
        case urllib3.exceptions.ProtocolError() | urllib3.exceptions.DecodeError():
            return "a body that was cut off"
        case _:
            return f"no connection ({reason_of(error)})"


def reason_of(error: BaseException) -> str:
    """Return what the operating system said: the innermost cause, without the layers around it."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        wrapped = getattr(error, "reason", None)
        arguments = [argument for argument in error.args if isinstance(argument, BaseException)]
        inner = wrapped if isinstance(wrapped, BaseException) else next(iter(arguments), error.__cause__)
    return getattr(error, "strerror", None) or type(error).__name__


def without_userinfo(url: str | None) -> str:
    """Return `url` without login and query."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path or '/'}"


def _excerpt(content: bytes, connection: Connection) -> str:
    text = connection.redacted_excerpt(content, _EXCERPT)
    return f"{text!r}{'...' if len(content) > _EXCERPT else ''}"
