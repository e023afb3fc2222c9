"""The login of a request, from the words of the configuration."""

from collections.abc import Callable, Mapping
from copy import copy
from threading import Lock
from typing import Any

import requests
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    AuthConfigBase,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
)
from requests.auth import AuthBase

SECRET_WORDS = ("username", "password", "token", "api_key", "client_id", "client_secret")
"""What is secret in an auth of the configuration; a user's name and password come first."""
_PATIENCE = 60.0
"""Seconds until a server of tokens must have answered."""


class CookieAuth(AuthBase):
    """A key in a cookie, which dlt's `APIKeyAuth` does not write (dlt 1.31)."""

    def __init__(self, name: str, api_key: str) -> None:
        self._cookie = f"{name}={api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the cookie to those that `request` has."""
        others = request.headers.get("Cookie")
        request.headers["Cookie"] = f"{others!s}; {self._cookie}" if others else self._cookie
        return request


class SharedToken(OAuth2ClientCredentials):
    """A token for all threads: one of them asks for it, and again when it has expired or is refused."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into the header `Authorization`."""
        with _TOKEN_LOCK:
            return super().__call__(request)

    def renew(self, refused: str | bytes | None) -> None:
        """Ask for a new token, unless another thread has done so since the header `refused` was sent."""
        with _TOKEN_LOCK:
            if refused == f"Bearer {self.access_token}":
                self.obtain_token()

    def build_access_token_request(self) -> dict[str, Any]:
        """Return what dlt sends, with a time-out."""
        return {**super().build_access_token_request(), "timeout": _PATIENCE}


_TOKEN_LOCK = Lock()


def request_auth(auth: Any, resolve: Callable[[Any], Any]) -> AuthBase | None:
    """Return what puts `auth` of the configuration into a request; None for no login.

    Args:
        auth: in the words of the configuration, or an auth of dlt, of requests, or of the user.
        resolve: gives the values of what `auth` refers to.
    """
    if auth is None:
        return None
    if isinstance(auth, Mapping):
        return _of_words(resolve(auth))
    if isinstance(auth, AuthConfigBase):
        own = copy(auth)
        for name, value in vars(auth).items():
            setattr(own, name, resolve(value) if isinstance(value, str | dict) else value)
        return own
    found: AuthBase = auth
    return found


def _of_words(auth: Mapping[str, Any]) -> AuthBase:
    given = {name: value for name, value in auth.items() if name != "type"}
    match auth.get("type", "bearer"):
        case "basic" | "http_basic":
            return HttpBasicAuth(**given)
        case "api_key" if auth.get("location") == "cookie":
            return CookieAuth(auth.get("name", "Authorization"), auth["api_key"])
        case "api_key":
            return APIKeyAuth(**given)
        case "oauth2_client_credentials":
            return SharedToken(**given, session=requests.Session())
        case _:
            return BearerTokenAuth(**given)
