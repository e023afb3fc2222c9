"""HTTP with the CRM: what is asked again, what is not, and what never gets out."""

import logging
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread, Timer
from time import monotonic
from typing import Any

import pytest

from crm_assets.apis.api_config import ErrorHandler
from crm_assets.errors import Cancelled, CrmError, CrmUnavailable, LoginRefused, UnexpectedResponse, own_error
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.pages import read_pages
from crm_assets.extract.rate_limit import BURST_FAILURES
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, RESOURCES

Read = Callable[..., tuple[list[Any], Traffic]]


@pytest.fixture
def read(connection: Connection) -> Read:
    def read(resource: str, **changes: Any) -> tuple[list[Any], Traffic]:
        traffic = Traffic()
        try:
            pages = list(read_pages(RESOURCES[resource], replace(connection, **changes), traffic))
        except Exception as error:
            raise own_error(error, resource) from None
        return [record for page in pages for record in page.records], traffic

    return read


def test_all_pages_are_read_over_one_connection_as_this_project(read: Read, sandbox: Sandbox) -> None:
    records, traffic = read("contacts")
    assert len(records) == 250
    assert (traffic.requests, traffic.pages, traffic.retries) == (3, 3, 0)
    assert len({seen.port for seen in sandbox.log}) == 1
    assert {seen.user_agent for seen in sandbox.log} == {"crm_assets/0.1.0"}


def test_the_page_size_is_the_tables_limit_unless_the_connection_says_otherwise(read: Read) -> None:
    assert read("contacts")[1].pages == 3
    assert read("contacts", page_size=50)[1].pages == 5


def test_the_cursor_is_not_part_of_any_record(read: Read) -> None:
    assert not [record for record in read("contacts")[0] if "cursor" in record]


def test_503_twice_and_then_200_is_three_requests(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault("tickets=503x2")
    records, traffic = read("tickets")
    assert len(records) == 20
    assert sandbox.requests["tickets"] == traffic.requests == 3
    assert traffic.retries == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_that_stays_is_asked_four_times_and_then_named(read: Read, sandbox: Sandbox, status: int) -> None:
    sandbox.fault(f"tickets={status}")
    with pytest.raises(CrmUnavailable) as error:
        read("tickets")
    assert sandbox.requests["tickets"] == 4
    assert f"tickets: HTTP {status} from {sandbox.base_url}/v1/tickets after 4 attempts in " in str(error.value)
    assert error.value.worth_retrying


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, LoginRefused, "SOURCES__CRM__API_KEY"),
        (403, LoginRefused, "sources.crm.email"),
        (404, UnexpectedResponse, "sources.crm.base_url"),
        (400, UnexpectedResponse, "HTTP 400"),
        (501, CrmUnavailable, "HTTP 501"),
    ],
)
def test_another_status_is_not_asked_again(
    read: Read, sandbox: Sandbox, status: int, kind: type[CrmError], words: str
) -> None:
    sandbox.fault(f"deals={status}")
    with pytest.raises(kind, match=words):
        read("deals")
    assert sandbox.requests["deals"] == 1


def test_a_crm_that_is_not_there_is_named_with_its_address(read: Read) -> None:
    with pytest.raises(CrmUnavailable, match=r"Connection refused.* from http://127\.0\.0\.1:1/v1/notes after 4 att"):
        read("notes", base_url="http://127.0.0.1:1")


def test_a_crm_that_never_answers_is_a_time_out(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault("notes=hang")
    with pytest.raises(CrmUnavailable, match=r"no answer within 0\.1 s"):
        read("notes", read_timeout=0.1)


@pytest.mark.parametrize("retry_after", ["0", "Fri, 01 Jan 2021 00:00:00 GMT"])
def test_a_retry_after_that_is_over_does_not_shorten_the_backoff(
    connection: Connection, sandbox: Sandbox, retry_after: str
) -> None:
    patient: ErrorHandler = {**RESOURCES["notes"].error_handler, "backoff_factor": 0.3}
    notes = replace(RESOURCES["notes"], endpoint={**RESOURCES["notes"].endpoint, "error_handler": {**patient}})
    sandbox.fault(Fault("notes", "status", times=2, status=429, retry_after=retry_after))
    started = monotonic()
    list(read_pages(notes, connection, Traffic()))
    assert monotonic() - started > 0.3 + 0.6


def test_retry_after_is_waited_for(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "status", times=1, status=429, retry_after="1"))
    started = monotonic()
    assert len(read("notes")[0]) == 20
    assert 1 <= monotonic() - started < 3


def test_a_retry_after_of_hours_is_reported_instead_of_waited_for(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "status", status=429, retry_after="7200"))
    with pytest.raises(CrmUnavailable, match=r"after 1 attempt in .* the CRM asks to wait 7,?200 s"):
        read("notes")
    assert sandbox.requests["notes"] == 1


@pytest.mark.parametrize(
    ("fault", "fails"),
    [("503", True), ("501", True), ("reset", True), ("cut_off", True), ("429", False), ("404", False), ("html", False)],
)
def test_server_errors_and_lost_connections_are_failures_of_the_crm_and_other_responses_are_not(
    read: Read, connection: Connection, sandbox: Sandbox, fault: str, fails: bool
) -> None:
    sandbox.fault(f"notes={fault}")
    for _ in range(BURST_FAILURES):
        with pytest.raises(CrmError):
            read("notes")
    assert connection.rate_limit.is_burst is fails


def test_who_does_not_ask_again_lets_nobody_wait(connection: Connection, sandbox: Sandbox) -> None:
    once: ErrorHandler = {**RESOURCES["notes"].error_handler, "max_retries": 0, "backoff_factor": 60}
    notes = replace(RESOURCES["notes"], endpoint={**RESOURCES["notes"].endpoint, "error_handler": {**once}})
    sandbox.fault("notes=503")
    started = monotonic()
    for _ in range(2 * BURST_FAILURES):
        with pytest.raises(CrmUnavailable):
            list(read_pages(notes, connection, Traffic()))
    assert connection.rate_limit.is_burst
    assert monotonic() - started < 60


def test_a_redirect_within_the_crm_is_followed(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "redirect", times=1, location="/v1/notes"))
    assert len(read("notes")[0]) == 20


@pytest.mark.parametrize("location", ["http://localhost:{port}/v1/notes", "//127.0.0.2:{port}/", "file:///etc/passwd"])
def test_a_redirect_to_another_place_is_refused_and_the_login_stays_here(
    read: Read, sandbox: Sandbox, location: str
) -> None:
    sandbox.fault(Fault("notes", "redirect", location=location.format(port=sandbox.port)))
    with pytest.raises(UnexpectedResponse, match="redirects to another place"):
        read("notes")
    assert sandbox.requests["notes"] == 1


def test_a_redirect_to_an_empty_address_is_refused(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "redirect", location=""))
    with pytest.raises(UnexpectedResponse, match="redirects to an empty address"):
        read("notes")


def test_a_redirect_in_circles_ends(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "redirect", location="/v1/notes"))
    with pytest.raises(UnexpectedResponse, match="redirects in a loop"):
        read("notes")


def test_cancelling_ends_a_wait_for_a_retry_at_once(read: Read, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "status", status=429, retry_after="250"))
    cancelled = Event()
    Timer(0.2, cancelled.set).start()
    started = monotonic()
    with pytest.raises(Cancelled):
        read("notes", cancelled=cancelled)
    assert monotonic() - started < 5


def test_neither_e_mail_nor_key_nor_their_base64_is_in_errors_logs_or_representations(
    read: Read, sandbox: Sandbox, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    login = b64encode(f"{EMAIL}:{API_KEY}".encode()).decode()
    in_hex = API_KEY.encode().hex()
    logging.getLogger("dlt").propagate = True
    caplog.set_level(logging.DEBUG)
    sandbox.fault(Fault("notes", "error_envelope", body=f"who is {EMAIL} with {API_KEY}, {login}, {in_hex}?"))
    with pytest.raises(UnexpectedResponse) as error:
        read("notes")
    said = f"{error.value}{error.value!r}{connection!r}{caplog.text}"
    assert "who is ***" in said
    assert not [secret for secret in (EMAIL, API_KEY, login, in_hex) if secret in said]


def test_a_proxy_of_the_environment_does_not_come_between_the_project_and_this_machine(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert len(read("notes")[0]) == 20


def test_resources_are_read_side_by_side_in_threads(read: Read) -> None:
    counts: dict[str, int] = {}
    threads = [Thread(target=lambda one=one: counts.update({one: len(read(one)[0])})) for one in RESOURCES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts["contacts"] == 250
    assert counts.keys() == RESOURCES.keys()
