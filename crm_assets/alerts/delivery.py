"""How a message reaches people: a webhook that takes what Slack takes, and mail."""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import requests

from crm_assets.alerts.messages import Message
from crm_assets.api.answers import reason_of
from crm_assets.errors import CrmAssetsError
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
    try:
        answer = requests.post(
            address, json={"text": f"*{message.subject}*\n{message.body}"}, timeout=_TIMEOUT, allow_redirects=False
        )
    except requests.RequestException as error:
        raise Undelivered(f"The webhook (alerts.webhook_url) did not answer: {reason_of(error)}.") from None
    if not answer.ok or answer.is_redirect:
        raise Undelivered(f"The webhook (alerts.webhook_url) answered HTTP {answer.status_code}.")


def _mail(settings: AlertSettings, message: Message) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, settings.mail_from, ", ".join(settings.mail_to)
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="crm-assets")
    mail.set_content(message.body)
    try:
        with _mail_server(settings) as server:
            if settings.smtp_security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user and settings.smtp_password:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        where = f"{settings.smtp_host}:{settings.smtp_port}"
        raise Undelivered(f"The mail server {where} (alerts.smtp_host) did not take the mail: {error}.") from None


def _mail_server(settings: AlertSettings) -> smtplib.SMTP:
    host, port = settings.smtp_host or "", settings.smtp_port
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=_TIMEOUT)
