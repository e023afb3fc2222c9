"""What a configuration wants done with certain responses, in dlt's words."""

from collections.abc import Mapping
from typing import Any

import requests


def applies(action: Mapping[str, Any], response: requests.Response) -> bool:
    """Return whether `action` is for `response`: that then is neither an error nor checked for records.

    An action that names neither status nor content is a function which sees every response; it is for those that are
    no errors.
    """
    status: int | None = action.get("status_code")
    content: str | None = action.get("content")
    if status is None and content is None:
        return bool(response.status_code < 400)
    is_status = status is None or status == response.status_code
    return bool(is_status and (content is None or content in response.text))


def is_function(action: Mapping[str, Any]) -> bool:
    """Return whether `action` is carried out by a function, which may change the response."""
    return bool(action["action"] != "ignore")
