"""How a message reaches people: a webhook that takes what Slack takes, and the addresses that Apprise knows."""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import requests
import urllib3
from requests.adapters import HTTPAdapter

from crm_assets.alerts.messages import Message
from crm_assets.errors import CrmAssetsError, SettingError
from crm_assets.extract.deadline import Deadline, DeadlineExceeded
from crm_assets.extract.responses import reason_of
from crm_assets.settings import AlertSettings

if TYPE_CHECKING:
    from apprise import NotifyBase

_TIMEOUT = 10.0

Channel = Callable[[Message], None]
"""Delivers one message, or raises Undelivered."""


class Undelivered(CrmAssetsError):
    """A message did not reach its channel. It says why, without the secret address."""

    reason = "unavailable"


def channels(settings: AlertSettings) -> Mapping[str, Channel]:
    """Return the channels that `settings` name.

    Raises:
        SettingError: Apprise is missing, or cannot use an address.
    """
    found: dict[str, Channel] = {}
    if settings.webhook_url:
        address = settings.webhook_url.get_secret_value()
        found["webhook"] = lambda message: _post(address, message)
    for position, url in enumerate(settings.urls, start=1):
        name, channel = _apprise_channel(url.get_secret_value(), position)
        found[name] = channel
    return found


def _post(address: str, message: Message) -> None:
    deadline = Deadline()
    try:
        with requests.Session() as session, deadline.limit(_TIMEOUT):
            adapter = session.get_adapter(address)
            if isinstance(adapter, HTTPAdapter):
                deadline.guard(adapter.poolmanager)
            answer = session.post(
                address,
                json={"text": f"*{_as_slack(message.subject)}*\n{_as_slack(message.body)}"},
                timeout=_TIMEOUT,
                allow_redirects=False,
                stream=True,  # the body says nothing, and may take its time
            )
            answer.close()
    except DeadlineExceeded:
        raise Undelivered(f"The webhook (alerts.webhook_url) did not answer within {_TIMEOUT:g} s.") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise Undelivered(f"The webhook (alerts.webhook_url) did not answer: {reason_of(error)}.") from None
    if not 200 <= answer.status_code < 300:
        raise Undelivered(f"The webhook (alerts.webhook_url) answered HTTP {answer.status_code}.")


def _as_slack(text: str) -> str:
    """Return `text` so that nothing in it is a link or calls a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _apprise_channel(address: str, position: int) -> tuple[str, Channel]:
    """Return the channel for the address at `position` of alerts.urls, and a name that keeps the address secret."""
    service = _service(address, position)
    name = f"{service.schema}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
    what = f"Address {position} of alerts.urls ({service.schema})"

    def send(message: Message) -> None:
        attempt = _under_way.pop(name, None)
        if attempt is None or attempt.message != message or attempt.has_failed:
            attempt = _Attempt(service, message)
            attempt.start()
            attempt.join(_TIMEOUT)
        if attempt.is_alive():
            _under_way[name] = attempt
            raise Undelivered(f"{what} did not answer within {_TIMEOUT:g} s.")
        if attempt.has_failed:
            raise Undelivered(f"{what} did not take the message{attempt.status}.")

    return name, send


def _service(address: str, position: int) -> "NotifyBase":
    try:
        import apprise
    except ImportError:
        raise SettingError('alerts.urls needs Apprise. Install it: pip install "crm_assets[alerts]".') from None
    logging.getLogger("apprise").propagate = False  # what it logs may show parts of an address
    asset = apprise.AppriseAsset(
        app_id="crm_assets",
        http_redirects=False,  # a POST that is redirected becomes a GET, which delivers nothing and looks fine
        service_timeout=0,  # it would send from a pool, whose threads may all hang and then hold up the process's end
    )
    service = apprise.Apprise.instantiate(address, asset=asset)
    if service is None:
        raise SettingError(
            f"alerts.urls cannot be used: Apprise cannot use address {position}; "
            "`apprise -vv -b test ADDRESS` says why. Set `urls` under [alerts] in .dlt/secrets.toml, "
            "or ALERTS__URLS in the environment."
        )
    service.request_rate_per_sec = 0  # a pause of 5.5 s before the next message would take up its time
    if "overflow=" not in address:
        service.overflow_mode = apprise.OverflowMode.TRUNCATE  # what is too long would be refused at every tick
    return service


class _Attempt(Thread):
    """One message on its way to one address.

    A thread of its own because nothing ends a request of Apprise: its time-outs begin anew with every byte. Whoever
    has waited long enough leaves it behind, and asks at a later tick how it ended, so that nobody is told twice.
    """

    def __init__(self, service: "NotifyBase", message: Message) -> None:
        super().__init__(name="alert", daemon=True)
        self.message = message
        self.status = ""
        self._service = service
        self._is_delivered = False

    @property
    def has_failed(self) -> bool:
        return not self.is_alive() and not self._is_delivered

    def run(self) -> None:
        from apprise import Apprise

        with suppress(Exception):  # its text may show parts of the address
            result = Apprise(self._service, asset=self._service.asset).notify(
                title=self.message.subject,
                body=_calling_nobody(self.message.body),
                body_format="text",
                notify_type="success" if self.message.is_over else "failure",
            )
            said = re.search(r"\berror=(\d{3})\b", " ".join(entry.message for entry in result.logs()))
            self.status = f": HTTP {said[1]}" if said else ""
            self._is_delivered = bool(result)


_under_way: dict[str, _Attempt] = {}
"""The attempts that were left behind, by the name of the channel."""


def _calling_nobody(text: str) -> str:
    """Return `text` with a space of no width behind what begins a mention, such as `@everyone`."""
    return re.sub("[@<]", "\\g<0>\u200b", text)
