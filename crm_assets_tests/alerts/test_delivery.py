"""A message reaches what Apprise knows, and what does not take it costs nobody anything."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message as Mail
from io import StringIO
from socket import socket
from time import monotonic

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Mailbox
from apprise import Apprise

from crm_assets.alerts import delivery
from crm_assets.alerts.delivery import Undelivered, channels
from crm_assets.alerts.messages import Message
from crm_assets.errors import SettingError
from crm_assets.settings import AlertSettings
from crm_assets_tests.trickling import trickling
from crm_assets_tests.webhook import Webhook, webhook

MESSAGE = Message("CRM: crm/notes did not load", "Since noon\nIt broke.\nhttp://127.0.0.1:3000/runs/1", is_over=False)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second instead of ten."""
    monkeypatch.setattr(delivery, "_TIMEOUT", 0.5)


def send(*addresses: str, message: Message = MESSAGE) -> None:
    for channel in channels(AlertSettings.read("crm", {"urls": addresses})).values():
        channel(message)


def test_a_name_is_the_same_at_every_tick_and_tells_the_schema_alone() -> None:
    names = [
        list(channels(AlertSettings.read("crm", {"urls": ["json://s3cr3t/1", "json://s3cr3t/2"]}))) for _ in range(2)
    ]
    assert names == [["json-35675a48", "json-38df699c"]] * 2


def test_a_message_arrives_as_it_was_written(hook: Webhook) -> None:
    send(hook.apprise_url)
    [body] = hook.bodies
    assert (body["title"], body["message"], body["type"]) == (MESSAGE.subject, MESSAGE.body, "failure")


def test_what_the_crm_sent_calls_nobody(hook: Webhook) -> None:
    send(hook.apprise_url, message=Message("CRM", "@everyone <!channel> <@1> @here", is_over=False))
    [body] = hook.bodies
    assert body["message"] == "@\u200beveryone <\u200b!channel> <\u200b@\u200b1> @\u200bhere"


@pytest.mark.parametrize(("ending", "length"), [("", 1000), ("?overflow=upstream", 5000)])
def test_what_is_too_long_is_cut_unless_the_address_says_otherwise(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, ending: str, length: int
) -> None:
    monkeypatch.setattr(type(Apprise.instantiate(hook.apprise_url)), "body_maxlen", 1000)
    send(hook.apprise_url + ending, message=Message("CRM", "x" * 5000, is_over=False))
    assert [len(body["message"]) for body in hook.bodies] == [length]


@pytest.mark.parametrize(("status", "why"), [(500, ": HTTP 500"), (302, ": HTTP 302")])
def test_an_answer_that_takes_nothing_is_said_without_the_address(hook: Webhook, status: int, why: str) -> None:
    hook.status = status
    with pytest.raises(Undelivered) as error:
        send(hook.apprise_url)
    assert str(error.value) == f"Address 1 of alerts.urls (json) did not take the message{why}."


def test_an_address_where_nobody_listens_is_said() -> None:
    with pytest.raises(Undelivered, match=r"^Address 1 of alerts\.urls \(json\) did not take the message\.$"):
        send("json://127.0.0.1:1/s3cr3t")


@pytest.mark.parametrize("address", ["s3cr3t", "s3cr3t://host", "discord://s3cr3t", "mailto://host:s3cr3t"])
def test_an_address_that_apprise_cannot_read_is_named_by_its_position(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(log)])
    with pytest.raises(SettingError) as error:
        send("json://127.0.0.1:1", address)
    assert str(error.value) == (
        "alerts.urls cannot be used: Apprise cannot use address 2; `apprise -vv -b test ADDRESS` says why. "
        "Set `urls` under [alerts] in .dlt/secrets.toml, or ALERTS__URLS in the environment."
    )
    assert "s3cr3t" not in log.getvalue()


def test_without_apprise_an_address_is_refused_with_what_to_install_and_a_webhook_works(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingError, match=r'pip install "crm_assets\[alerts\]"\.$'):
        send(hook.apprise_url)
    channels(AlertSettings.read("crm", {"webhook_url": hook.url}))["webhook"](MESSAGE)
    assert len(hook.texts) == 1


@pytest.mark.parametrize(
    ("address", "first", "again"),
    [
        ("json://127.0.0.1:{}/s3cr3t", b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        ("mailto://127.0.0.1:{}?from=crm@example.com&to=me@example.com", b"220", b"-\r\n220"),
    ],
)
def test_what_drips_is_left_behind_and_asked_no_second_time(
    impatient: None, address: str, first: bytes, again: bytes
) -> None:
    with trickling(first, again) as port:
        begin = monotonic()
        for longest in (2.0, 0.3):
            with pytest.raises(Undelivered, match=r"^Address 1 of alerts\.urls .* did not answer within 0\.5 s\.$"):
                send(address.format(port))
            assert monotonic() - begin < longest
            begin = monotonic()


def left_behind(hook: Webhook) -> None:
    """Send a message that is not answered in time, and then is."""
    hook.answers.clear()
    with pytest.MonkeyPatch.context() as inside, pytest.raises(Undelivered, match=r"within 0\.5 s"):
        inside.setattr(delivery, "_TIMEOUT", 0.5)
        send(hook.apprise_url)
    attempt = list(delivery._under_way.values())[-1]
    hook.answers.set()
    attempt.join()


@pytest.mark.parametrize(("status", "told"), [(200, 1), (500, 0)])
def test_how_an_attempt_ended_that_was_left_behind_counts_later(hook: Webhook, status: int, told: int) -> None:
    hook.status = status
    left_behind(hook)
    assert len(hook.bodies) == told
    hook.status = 200
    send(hook.apprise_url)
    assert len(hook.bodies) == 1
    send(hook.apprise_url)
    assert len(hook.bodies) == 2


def test_another_message_is_sent_although_an_attempt_was_left_behind(hook: Webhook) -> None:
    left_behind(hook)
    send(hook.apprise_url, message=replace(MESSAGE, subject="CRM: crm/deals did not load"))
    assert [body["title"] for body in hook.bodies] == [MESSAGE.subject, "CRM: crm/deals did not load"]


def test_an_attempt_that_was_left_behind_does_not_hold_up_the_end_of_the_process() -> None:
    script = (
        "import sys; from crm_assets_tests.alerts.test_delivery import delivery, send; "
        "delivery._TIMEOUT = 0.5; send(sys.argv[1])"
    )
    with trickling(b"HTTP/1.1 200 OK\r\nX: ", b"x") as port:
        command = [sys.executable, "-c", script, f"json://127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert "did not answer within 0.5 s." in done.stderr


def test_mails_go_to_everybody_named_one_after_the_other_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    mails: list[Mail] = []

    class Box(Mailbox):
        def handle_message(self, message: Mail) -> None:
            mails.append(message)

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(delivery, "_TIMEOUT", 4.0)
    server = Controller(Box(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        address = f"mailto://127.0.0.1:{port}?from=crm@example.com&to=one@example.com,two@example.com"
        [channel] = channels(AlertSettings.read("crm", {"urls": [address]})).values()
        for _ in range(2):
            channel(MESSAGE)
    finally:
        server.stop()
    assert [mail["To"] for mail in mails] == ["one@example.com", "two@example.com"] * 2
    for mail in mails:
        assert mail["Subject"] == MESSAGE.subject
        assert "crm@example.com" in mail["From"]
        assert mail.get_content_type() == "text/plain"
        text = mail.get_payload(decode=True)
        assert isinstance(text, bytes)
        assert text.decode().splitlines() == MESSAGE.body.splitlines()
    with pytest.raises(Undelivered, match=r"^Address 1 of alerts\.urls \(mailto\) did not take the message\.$"):
        send(address)
