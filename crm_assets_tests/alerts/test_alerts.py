"""People hear of each incident once, and once more when it is over."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from crm_assets.alerts import delivery
from crm_assets.alerts.incidents import Incident, Ledger, Problem, Subject
from crm_assets.alerts.messages import message
from crm_assets.definitions import defs
from crm_assets.errors import Reason
from crm_assets.orchestration import sync
from crm_assets.orchestration.keys import asset_key
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Command, Materialize, an_account, history_in
from crm_assets_tests.orchestration.test_sensors import skipped, tick
from crm_assets_tests.trickling import trickling
from crm_assets_tests.webhook import Webhook, webhook

SINCE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEALS: Subject = ("run", "crm/deals")
NOTES: Subject = ("run", "crm/notes")


def trouble(cause: str = "one") -> Problem:
    return Problem(SINCE, cause, f"It broke in {cause}.", cause)


def pending(ledger: Ledger) -> list[tuple[list[str], bool]]:
    return [(incident.subjects, incident.over is not None) for incident in ledger.pending["webhook"]]


class TestLedger:
    def test_troubles_with_one_cause_are_one_incident_and_told_once(self) -> None:
        ledger = Ledger()
        for _ in range(3):
            ledger.see({DEALS: trouble(), NOTES: trouble()}, ["webhook"])
        assert pending(ledger) == [(["crm/deals", "crm/notes"], False)]

    def test_an_incident_goes_on_while_one_of_its_subjects_is_not_well(self) -> None:
        ledger = Ledger()
        ledger.see({DEALS: trouble(), NOTES: trouble()}, ["webhook"])
        ledger.see({DEALS: None, NOTES: trouble("two")}, ["webhook"])
        ledger.see({DEALS: None}, ["webhook"])
        assert len(pending(ledger)) == 1
        ledger.see({DEALS: None, NOTES: None}, ["webhook"])
        assert pending(ledger)[1:] == [(["crm/deals", "crm/notes"], True)]
        assert not ledger.open

    def test_another_subject_is_another_incident(self) -> None:
        ledger = Ledger()
        ledger.see({DEALS: trouble()}, ["webhook"])
        ledger.see({DEALS: trouble("two"), NOTES: trouble("two")}, ["webhook"])
        assert pending(ledger) == [(["crm/deals"], False), (["crm/notes"], False)]

    def test_a_table_that_is_out_of_date_because_its_run_fails_is_no_second_incident(self) -> None:
        ledger = Ledger()
        ledger.see({DEALS: trouble()}, ["webhook"])
        ledger.see({DEALS: trouble(), ("freshness", "crm/deals"): trouble("age")}, ["webhook"])
        assert len(pending(ledger)) == 1

    def test_what_was_well_and_fails_again_is_new_also_while_others_are_not_well_yet(self) -> None:
        ledger = Ledger()
        ledger.see({DEALS: trouble(), NOTES: trouble()}, ["webhook"])
        ledger.see({DEALS: None, NOTES: trouble("two")}, ["webhook"])
        ledger.see({DEALS: trouble("three"), NOTES: trouble("three")}, ["webhook"])
        assert pending(ledger) == [(["crm/deals", "crm/notes"], False), (["crm/deals"], False)]
        ledger.see({DEALS: None, NOTES: None}, ["webhook"])
        assert pending(ledger)[2:] == [(["crm/deals", "crm/notes"], True), (["crm/deals"], True)]

    def test_a_reason_that_needs_a_person_is_told_and_one_that_mends_itself_is_not(self) -> None:
        ledger = Ledger()
        reasons: list[Reason] = ["unavailable", "login", "login", "unavailable", "unavailable"]
        for reason in reasons:
            ledger.see({DEALS: replace(trouble(reason), reason=reason)}, ["webhook"])
        texts = [incident.text for incident in ledger.pending["webhook"]]
        assert texts == ["It broke in unavailable.", "It broke in login."]
        ledger.see({DEALS: None}, ["webhook"])
        assert pending(ledger)[2:] == [(["crm/deals"], True)]

    def test_it_survives_being_written_down(self) -> None:
        ledger = Ledger()
        ledger.see({DEALS: trouble()}, ["webhook", "mail"])
        assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger


def test_a_message_says_what_since_when_why_and_where_to_look() -> None:
    text = "\n".join(f"line {number}" for number in range(9))
    incident = Incident(kind="run", subjects=["crm/deals"], since=SINCE, text=text, run_id="4711")
    told = message(incident, "https://dagster.example.com/")
    assert told.subject == "CRM: crm/deals did not load"
    assert told.body.splitlines() == [
        "Since 2026-03-01 12:00 UTC",
        *(f"line {number}" for number in range(6)),
        "… and 3 more lines",
        "https://dagster.example.com/runs/4711",
    ]
    over = message(incident.model_copy(update={"over": SINCE + timedelta(minutes=95)}), "https://dagster.example.com")
    assert over.subject == "Resolved: crm/deals did not load"
    assert over.body.startswith("It lasted 1 h 35 min, until 2026-03-01 13:35 UTC.\n")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A webhook that the settings name."""
    with webhook() as server:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", server.url)
        yield server


class TestSensor:
    def test_with_nobody_to_tell_it_says_so(self, instance: dg.DagsterInstance) -> None:
        said = skipped(tick("alerts", instance))
        assert said == "No alert channel is configured: set alerts.webhook_url or alerts.urls."

    def test_a_setting_that_cannot_be_used_is_said(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALERTS__URLS", "s3cr3t")
        assert skipped(tick("alerts", instance)).startswith("alerts.urls cannot be used: Apprise cannot use address 1;")

    def test_a_failed_run_is_told_once_and_once_when_the_tables_are_loaded(
        self, hook: Webhook, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("deals", "extra_cursor"))
        sandbox.fault("notes=extra_cursor")
        failed = materialize(["deals", "notes", "tasks"])
        cursor = tick("alerts", instance).cursor
        materialize(["notes"])
        for _ in range(2):
            cursor = tick("alerts", instance, cursor).cursor
        [told] = hook.texts
        assert told.startswith("*CRM: crm/notes did not load*\nSince 20")
        assert "notes: the listing was cut" in told
        assert told.endswith(f"/runs/{failed.run_id}")
        sandbox.clear_faults()
        materialize(["tasks", "notes"])
        for _ in range(2):
            cursor = tick("alerts", instance, cursor).cursor
        assert len(hook.texts) == 2
        assert hook.texts[1].startswith("*Resolved: crm/notes did not load*\nIt lasted 0 min")

    def test_what_checks_alone_find_is_told_and_so_is_a_run_of_checks_that_fails(
        self, hook: Webhook, settings: dict[str, str], crm_assets: Command, tmp_path: Path
    ) -> None:
        assert crm_assets("sync", "deals").returncode == 0
        file = tmp_path / "data" / "warehouse.duckdb"
        with duckdb.connect(str(file)) as warehouse:
            warehouse.execute("DELETE FROM crm.deals")
        assert crm_assets("check", "deals").returncode == 1
        with history_in(settings["DAGSTER_HOME"]) as instance:
            cursor = tick("alerts", instance).cursor
        assert any("crm/deals" in text and "fail" in text for text in hook.texts)
        told = len(hook.texts)
        file.write_text("no database at all, but longer than a head of one" * 1_000)
        assert crm_assets("check", "deals").returncode == 5
        with history_in(settings["DAGSTER_HOME"]) as instance:
            tick("alerts", instance, cursor)
        assert [text.splitlines()[0] for text in hook.texts[told:]] == ["*CRM: crm_checks failed*"]

    def test_a_webhook_that_is_down_loses_nothing_and_keeps_its_address_to_itself(
        self, hook: Webhook, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault("notes=extra_cursor")
        materialize(["notes"])
        hook.status = 500
        down = tick("alerts", instance)
        assert skipped(down) == (
            "1 open incident, 0 messages sent, 1 waiting for the next tick. "
            "The webhook (alerts.webhook_url) answered HTTP 500."
        )
        assert "s3cr3t" not in (down.cursor or "")
        hook.status = 200
        up = tick("alerts", instance, down.cursor)
        assert skipped(up) == "1 open incident, 1 message sent, 0 waiting for the next tick."
        assert len(hook.texts) == 1

    def test_a_table_that_is_out_of_date_is_told_and_once_when_it_is_fresh(
        self, hook: Webhook, instance: dg.DagsterInstance
    ) -> None:
        cursor = None
        for state, before in ((FreshnessState.FAIL, FreshnessState.WARN), (FreshnessState.PASS, FreshnessState.FAIL)):
            change = FreshnessStateChange(
                key=asset_key(an_account(), "deals"),
                new_state=state,
                previous_state=before,
                state_change_timestamp=1.7e9,
            )
            instance.report_runless_asset_event(change)
            for _ in range(2):
                cursor = tick("alerts", instance, cursor).cursor
        assert [text.splitlines()[0] for text in hook.texts] == [
            "*CRM: crm/deals is out of date*",
            "*Resolved: crm/deals is out of date*",
        ]

    def test_what_was_loaded_since_the_daemon_looked_is_not_out_of_date(
        self, hook: Webhook, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        change = FreshnessStateChange(
            key=asset_key(an_account(), "deals"),
            new_state=FreshnessState.FAIL,
            previous_state=FreshnessState.WARN,
            state_change_timestamp=1.7e9,
        )
        instance.report_runless_asset_event(change)
        assert materialize(["deals"]).success
        assert skipped(tick("alerts", instance)).startswith("0 open incidents")

    def test_a_run_that_fails_with_all_tables_loaded_is_told_with_its_cause_first(
        self, hook: Webhook, instance: dg.DagsterInstance, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("The checks are broken.")

        with monkeypatch.context() as inside:
            inside.setattr(sync, "evaluate", broken)
            assert not materialize(["notes"]).success
        cursor = tick("alerts", instance).cursor
        assert hook.texts[0].splitlines()[0] == "*CRM: crm_all failed*"
        assert hook.texts[0].splitlines()[2] == "RuntimeError: The checks are broken."
        assert materialize(["notes"]).success
        tick("alerts", instance, cursor)
        assert hook.texts[1].startswith("*Resolved: crm_all failed*")

    def test_a_run_that_was_killed_and_that_dagster_cannot_try_again_is_told(
        self, hook: Webhook, instance: dg.DagsterInstance
    ) -> None:
        killed = instance.create_run_for_job(
            defs.resolve_job_def("crm_all"),
            asset_selection=frozenset({asset_key(an_account(), "notes")}),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/will_retry": "true"},
        )
        instance.report_run_failed(killed, "The process that ran it was killed.")
        tick("alerts", instance)
        assert [text.splitlines()[0] for text in hook.texts] == ["*CRM: crm/notes did not load*"]

    def test_what_the_crm_sent_calls_no_channel(
        self, hook: Webhook, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("notes", "error_envelope", body="<!channel> & <https://evil.example|click>"))
        materialize(["notes"])
        tick("alerts", instance)
        assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in hook.texts[0]

    def test_a_check_that_is_no_more_closes_its_incident(
        self, hook: Webhook, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        ledger = Ledger()
        ledger.see({("check", "crm/notes gone"): trouble()}, [])
        cursor = ledger.model_dump_json()
        assert skipped(tick("alerts", instance, cursor)).startswith("0 open incidents, 1 message sent")
        assert hook.texts[0].startswith("*Resolved: crm/notes gone fails*")

    def test_an_address_that_fails_makes_no_other_be_told_twice(
        self,
        hook: Webhook,
        sandbox: Sandbox,
        instance: dg.DagsterInstance,
        materialize: Materialize,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sandbox.fault("notes=extra_cursor")
        materialize(["notes"])
        with webhook() as one, webhook() as two:
            monkeypatch.setenv("ALERTS__URLS", f"{one.apprise_url}, {two.apprise_url}")
            two.status = 500
            down = tick("alerts", instance)
            assert skipped(down) == (
                "1 open incident, 2 messages sent, 1 waiting for the next tick. "
                "Address 2 of alerts.urls (json) did not take the message: HTTP 500."
            )
            assert "s3cr3t" not in (down.cursor or "")
            two.status = 200
            up = tick("alerts", instance, down.cursor)
            assert skipped(up) == "1 open incident, 1 message sent, 0 waiting for the next tick."
            sandbox.clear_faults()
            materialize(["notes"])
            tick("alerts", instance, up.cursor)
            told = [[(body["title"], body["type"]) for body in server.bodies] for server in (one, two)]
        once = [("CRM: crm/notes did not load", "failure"), ("Resolved: crm/notes did not load", "success")]
        assert told == [once, once]
        assert len(hook.texts) == 2

    @pytest.mark.parametrize("address", ["http://hooks..example.com/s3cr3t", f"http://{'h' * 70}.example.com/s3cr3t"])
    def test_a_webhook_that_cannot_work_costs_neither_the_tick_nor_the_other_channel(
        self,
        hook: Webhook,
        sandbox: Sandbox,
        instance: dg.DagsterInstance,
        materialize: Materialize,
        monkeypatch: pytest.MonkeyPatch,
        address: str,
    ) -> None:
        sandbox.fault("notes=extra_cursor")
        materialize(["notes"])
        monkeypatch.setenv("ALERTS__URLS", hook.apprise_url)
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", address)
        cursor = None
        for _ in range(2):
            done = tick("alerts", instance, cursor)
            cursor = done.cursor
        assert len(hook.bodies) == 1
        assert "The webhook (alerts.webhook_url) did not answer: " in skipped(done)
        assert "s3cr3t" not in skipped(done)

    def test_a_webhook_that_takes_its_time_does_not_hold_the_tick(
        self,
        sandbox: Sandbox,
        instance: dg.DagsterInstance,
        materialize: Materialize,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sandbox.fault("notes=extra_cursor")
        materialize(["notes"])
        monkeypatch.setattr(delivery, "_TIMEOUT", 0.5)
        with trickling(b"HTTP/1.1 200 OK\r\nX: ", b"x") as port:
            monkeypatch.setenv("ALERTS__WEBHOOK_URL", f"http://127.0.0.1:{port}/")
            said = skipped(tick("alerts", instance))
        assert "The webhook (alerts.webhook_url) did not answer within 0.5 s." in said
