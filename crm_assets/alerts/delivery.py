"""How a message reaches people: a webhook that takes what Slack takes, and mail."""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import requests
import urllib3
from requests.adapters import HTTPAdapter

from crm_assets.alerts.messages import Message
from crm_assets.errors import CrmAssetsError
from crm_assets.extract.deadline import Deadline, DeadlineExceeded, limit
from crm_assets.extract.responses import reason_of
from crm_assets.settings import AlertSettings

_TIMEOUT = 10.0

Channel = Callable[[Message], None]
"""Delivers one message, or raises Undelivered."""


class Undelivered(CrmAssetsError):
    """A message did not reach its channel. It says why, without the secret address."""

    reason = "unavailable"


def channels(settings: AlertSettings) -> Mapping[str, Channel]:
    """Return the channels that `settings` name."""
    found: dict[str, Channel] = {}
    if settings.webhook_url:
        address = settings.webhook_url.get_secret_value()
        found["webhook"] = lambda message: _post(address, message)
    if settings.smtp_host:
        found["mail"] = lambda message: _mail(settings, message)
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


def _mail(settings: AlertSettings, message: Message) -> None:
    server = _mail_server(settings)
    try:
        with limit(_TIMEOUT, lambda: getattr(server, "sock", None)):
            server.connect(settings.smtp_host or "", settings.smtp_port)
            if settings.smtp_security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user and settings.smtp_password:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(_as_mail(settings, message))
    except (DeadlineExceeded, OSError, smtplib.SMTPException, ValueError) as error:
        where = f"{settings.smtp_host}:{settings.smtp_port}"
        why = f"not within {_TIMEOUT:g} s" if isinstance(error, DeadlineExceeded) else str(error)
        raise Undelivered(f"The mail server {where} (alerts.smtp_host) did not take the mail: {why}.") from None
    finally:
        server.close()  # without a word: what it says to a farewell changes nothing


def _as_mail(settings: AlertSettings, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, settings.mail_from, ", ".join(settings.mail_to)
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="crm-assets")
    mail.set_content(message.body)
    return mail


def _mail_server(settings: AlertSettings) -> smtplib.SMTP:
    if settings.smtp_security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(timeout=_TIMEOUT, context=ssl.create_default_context())
    else:
        server = smtplib.SMTP(timeout=_TIMEOUT)
    # TLS checks the certificate against it. smtplib sets it where the constructor connects, which nothing could end.
    server._host = settings.smtp_host  # type: ignore[attr-defined]
    return server
