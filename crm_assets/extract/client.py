"""The HTTP client: one keep-alive session per resource, the configured retries, no login in any message.

Retries happen around each single exchange and include the reading and the shape of the body,
because a body that is cut off or is not the expected JSON is as much a fault as a 503.
"""

from collections.abc import Mapping
from importlib.metadata import version
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tenacity.wait import wait_base, wait_random

from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import ErrorHandler
from crm_assets.errors import Cancelled, CrmError, CrmUnavailable, LoginRefused, UnexpectedResponse
from crm_assets.extract.auth import SharedToken, request_auth
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.deadline import Deadline, DeadlineExceeded
from crm_assets.extract.json_decoder import parse
from crm_assets.extract.response_actions import applies
from crm_assets.extract.responses import body_problem, connection_problem, reason_of, retry_after, without_userinfo

USER_AGENT = f"crm_assets/{version('crm_assets')}"
MAX_RETRY_AFTER = 300.0
"""Seconds. A CRM that asks for a longer pause than this is reported instead of waited for."""
_JITTER = 0.5
"""Share of the backoff factor that is added at random, so that clients do not come back together."""
_CHUNK = 1 << 16
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
"""The least status of one."""
_RENEWALS = 3
"""How often a token that is refused is renewed for one request."""

_CRM_DOWN = "Run again when the CRM is available."
_REPORT_IT = "Its table is untouched. If it keeps happening, report it to the CRM's support."


class _Fault(Exception):
    """One exchange that did not give a page, and may the next time."""

    def __init__(
        self,
        why: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        answered: bool = False,
        is_unreachable: bool = False,
    ) -> None:
        super().__init__(why)
        self.is_unreachable = is_unreachable
        self.status = status
        self.retry_after = retry_after
        self.answered = answered

    @property
    def is_of_server(self) -> bool:
        """Whether the server failed, or gave no whole response."""
        return self.status is None or self.status >= _SERVER_ERROR


class _Page(requests.Response):
    """A response whose JSON is parsed once, however often it is asked for."""

    _parsed: tuple[bytes, Any] | None = None

    def json(self, **kwargs: Any) -> Any:
        content = self.content  # a response action may have put another one in its place
        if self._parsed is None or self._parsed[0] is not content:
            self._parsed = content, parse(content)
        return self._parsed[1]


class CrmSession(requests.Session):
    """The session of one resource at a time. Follows redirects on the CRM's own host only.

    Args:
        resource: what is requested.
        connection: address, login, time-outs, and the event that cancels.
        traffic: where the cost is counted.
    """

    max_redirects = 5

    def __init__(self, resource: Resource, connection: Connection, traffic: Traffic) -> None:
        super().__init__()
        self.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json"})
        self.trust_env = not connection.is_loopback
        self._connection = connection
        self._adapter = _RetryingAdapter(connection, traffic)
        self.mount("http://", self._adapter)
        self.mount("https://", self._adapter)
        self.switch_to(resource)

    def switch_to(self, resource: Resource) -> None:
        """Read another resource from now on, over the same connection."""
        self._resource = resource.name
        own = resource.endpoint.get("auth")
        self.auth = request_auth(own, self._connection.resolve) if own else self._connection.request_auth
        self._adapter.switch_to(resource)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send `request`, with retries.

        Raises:
            CrmError: there is no usable answer; the kind says why.
        """
        try:
            for _ in range(_RENEWALS):
                try:
                    return super().send(request, **options)
                except LoginRefused as refusal:
                    if refusal.status != 401 or not isinstance(self.auth, SharedToken):
                        raise
                    self.auth.renew(request.headers.get("Authorization"))  # it may expire earlier than was said
                    request = self.auth(request)
            return super().send(request, **options)
        except requests.TooManyRedirects:
            raise self._bad_redirect(f"{without_userinfo(request.url)} redirects in a loop") from None

    def get_redirect_target(self, response: requests.Response) -> str | None:
        """Return where `response` redirects to, None if it does not.

        Raises:
            UnexpectedResponse: it redirects to another host, which must not see the login.
        """
        target = super().get_redirect_target(response)
        if target is None:
            return None
        source = f"HTTP {response.status_code} from {without_userinfo(response.url)}"
        try:
            here, there = urlsplit(response.url), urlsplit(urljoin(response.url, target))
            place = (there.scheme, there.hostname, there.port)
        except ValueError:
            raise self._bad_redirect(f"{source} redirects to something that is not an address") from None
        if not target:
            raise self._bad_redirect(f"{source} redirects to an empty address")
        if place == (here.scheme, here.hostname, here.port) or place[:2] == ("https", here.hostname):
            return target
        raise self._bad_redirect(
            f"{source} redirects to another place, {there.scheme}://{there.netloc.rpartition('@')[2]}; "
            "the login was not sent there",
            "If the CRM has moved, set the new address. ",
        )

    def _bad_redirect(self, why: str, hint: str = "") -> UnexpectedResponse:
        advice = f"{hint}Check {self._connection.setting('base_url')}."
        return UnexpectedResponse(self._resource, self._connection.redacted(why), advice)


class _RetryingAdapter(HTTPAdapter):
    def __init__(self, connection: Connection, traffic: Traffic) -> None:
        super().__init__()
        self._deadline = Deadline()
        self._deadline.guard(self.poolmanager)
        self._connection = connection
        self._traffic = traffic

    def switch_to(self, resource: Resource) -> None:
        self._asked = resource
        self._resource = resource.name
        self._handler = resource.error_handler
        self._actions = resource.endpoint.get("response_actions", [])

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # those have connections of their own kind
            self._deadline.guard(manager)
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        response.__class__ = _Page  # requests has no hook for the class of a response
        return response

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        started = monotonic()
        retrying = Retrying(
            retry=retry_if_exception_type(_Fault),
            stop=self._is_enough,
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._counted, request, verify=verify, cert=cert, proxies=proxies)
        except _Fault as fault:
            attempts = retrying.statistics["attempt_number"]
            why = (
                f"{fault} from {without_userinfo(request.url)} after {attempts} "
                f"attempt{'s' * (attempts > 1)} in {monotonic() - started:.0f} s"
            )
            if _is_too_long(fault):
                why += f"; the CRM asks to wait {fault.retry_after:,.0f} s"
            if fault.answered:
                raise self._error(UnexpectedResponse, why, _REPORT_IT, fault.status) from None
            advice = (
                f"{self._check_url[:-1]}, or run again when the CRM is available."
                if fault.is_unreachable and not self._traffic.pages
                else _CRM_DOWN
            )
            raise self._error(CrmUnavailable, why, advice, fault.status) from None

    def _counted(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Exchange, and count for all threads whether the server failed."""
        limit = self._connection.rate_limit
        try:
            response = self._exchange(request, **options)
        except _Fault as fault:
            limit.count(failed=fault.is_of_server)
            raise
        except CrmError as error:
            limit.count(failed=(error.status or 0) >= _SERVER_ERROR)
            raise
        limit.count(failed=False)
        return response

    def _exchange(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        with self._traffic.timed("pausing"):
            self._connection.rate_limit.wait(self._connection.cancelled)
        self._stop_if_cancelled()
        self._traffic.add(requests=1)
        timeout = (self._connection.connect_timeout, self._connection.read_timeout)
        try:
            with self._traffic.timed("waiting"), self._deadline.limit(self._connection.answer_seconds):
                response = super().send(request, stream=True, timeout=timeout, **options)
                response._content = self._read(response)
        except DeadlineExceeded:
            raise _Fault(f"no complete response within {self._connection.answer_seconds:g} s") from None
        except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
            why = f"no secure connection to {without_userinfo(request.url)}: {reason_of(error)}"
            raise self._error(UnexpectedResponse, why, self._check_url) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            unreachable = isinstance(error, requests.ConnectionError)
            raise _Fault(connection_problem(error, self._connection), is_unreachable=unreachable) from None
        self._check(response)
        return response

    def _read(self, response: requests.Response) -> bytes:
        chunks = []
        size = 0
        # Not iter_content: that waits until a chunk is full, however slowly the bytes come.
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            self._stop_if_cancelled()
            chunks.append(chunk)
            size += len(chunk)
            self._traffic.add(size=len(chunk))
            if size > self._connection.answer_bytes:
                why = f"more than {self._connection.answer_bytes:,} bytes from {without_userinfo(response.url)}"
                advice = (
                    f"Its table is untouched. If that is right, raise {self._connection.setting('answer_bytes')}, "
                    f"or ask for smaller pages with {self._connection.setting('page_size')}."
                )
                raise self._error(UnexpectedResponse, why, advice)
        response.raw.release_conn()
        return b"".join(chunks)

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        why = f"HTTP {status} from {without_userinfo(response.url)}"
        if any(applies(action, response) for action in self._actions):
            self._traffic.add(pages=1)
            return
        if status in (401, 403):
            raise self._error(
                LoginRefused,
                f"{why}: login refused",
                f"Check {self._connection.login_settings}, in .dlt/secrets.toml or the environment.",
                status,
            )
        if status in self._handler["retry_on_status_codes"]:
            raise _Fault(f"HTTP {status}", status=status, retry_after=retry_after(response))
        if status >= 400:
            kind, advice = (CrmUnavailable, _CRM_DOWN) if status >= 500 else (UnexpectedResponse, self._check_url)
            raise self._error(kind, why, advice, status)
        if not response.is_redirect:
            with self._traffic.timed("parsing"):
                problem = body_problem(response, self._asked, self._connection)
            if problem:
                raise _Fault(f"HTTP {status} with {problem}", status=status, answered=True)
            self._traffic.add(pages=1)

    @property
    def _check_url(self) -> str:
        return f"Check {self._connection.setting('base_url')}."

    def _error(self, kind: type[CrmError], why: str, advice: str, status: int | None = None) -> CrmError:
        return kind(self._resource, self._connection.redacted(why), advice, status=status)

    def _is_enough(self, state: RetryCallState) -> bool:
        return _is_too_long(_fault_of(state)) or stop_after_attempt(self._handler["max_retries"] + 1)(state)

    def _pause(self, state: RetryCallState) -> float:
        self._traffic.add(retries=1)
        fault = _fault_of(state)
        seconds = max(_backoff(self._handler)(state), fault.retry_after or 0.0)
        limit = self._connection.rate_limit
        backs_off = fault.is_of_server and not self._is_enough(state)
        # For whatever this account asks, not for this resource alone.
        if fault.status == _TOO_MANY_REQUESTS or (backs_off and limit.is_burst):
            limit.pause(seconds)
        return seconds

    def _sleep(self, seconds: float) -> None:
        with self._traffic.timed("pausing"):
            self._connection.cancelled.wait(seconds)

    def _stop_if_cancelled(self) -> None:
        if self._connection.cancelled.is_set():
            raise Cancelled(f"{self._resource}: reading was cancelled.")


def _backoff(handler: ErrorHandler) -> wait_base:
    factor = handler["backoff_factor"]
    return wait_exponential(multiplier=factor, exp_base=2) + wait_random(0, factor * _JITTER)


def _fault_of(state: RetryCallState) -> _Fault:
    fault = state.outcome.exception() if state.outcome else None
    if not isinstance(fault, _Fault):
        raise TypeError("only faults are retried")
    return fault


def _is_too_long(fault: _Fault) -> bool:
    return fault.retry_after is not None and fault.retry_after > MAX_RETRY_AFTER
