"""The sensors, each tick by itself, in Dagster's test context."""

import json
import sys
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import dagster as dg
import orjson
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import StepMaterializationData
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from crm_assets.account import Account
from crm_assets.definitions import defs
from crm_assets.orchestration import build_defs, run_history
from crm_assets.orchestration.keys import api_resource, asset_key
from crm_assets.orchestration.resources import CrmApi
from crm_assets.orchestration.sensors.changes import look_for_changes
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import RESOURCES, Materialize, an_account

DOWN = {"kind": "status", "retry_after": "9999"}
"""Unavailable, and asking for a pause so long that nothing is retried."""
LAUNCHED = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("crm_assets"), "__repository__"), "crm_all"
)
"""Where Dagster has a run from that it launched, and so can launch again."""
CODE = JobPythonOrigin(
    "crm_all", RepositoryPythonOrigin(sys.executable, ModuleCodePointer("crm_assets.definitions", "defs"))
)


def tick(
    sensor: str, instance: dg.DagsterInstance, cursor: str | None = None, account: Account | None = None
) -> dg.SensorResult:
    """Return what one tick of `sensor` says, for the account that the settings describe now."""
    account = account or an_account()
    defs = build_defs(account)
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={api_resource(account): CrmApi(account)}, definitions=defs
    )
    data = defs.resolve_sensor_def(f"{account.name}_{sensor}").evaluate_tick(context)
    skip = dg.SkipReason(data.skip_message) if data.skip_message else None
    return dg.SensorResult(run_requests=data.run_requests, skip_reason=skip, cursor=data.cursor)


def hurried_tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Return what a tick of the sensor of changes says that may take half a second."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return look_for_changes(context, CrmApi(an_account()), list(RESOURCES), tick_seconds=0.5)


def requested(result: dg.SensorResult) -> set[str]:
    """Return the resources of the one run that `result` requests."""
    [request] = result.run_requests or []
    assert request.asset_check_keys
    assert {key.asset_key for key in request.asset_check_keys} == set(request.asset_selection or [])
    return {key.path[-1] for key in request.asset_selection or []}


def skipped(result: dg.SensorResult) -> str:
    """Return why `result` requests nothing."""
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return result.skip_reason.skip_message or ""


def key_of(result: dg.SensorResult) -> Any:
    """Return the run key of the one run that `result` requests."""
    [request] = result.run_requests or []
    return request.run_key


def due_now(cursor: str | None) -> str:
    """Return the cursor of `crm_recovery` as if all pauses were over."""
    due = {name: one | {"ask_at": datetime.now(UTC)} for name, one in outages_in(cursor).items()}
    return orjson.dumps(orjson.loads(cursor or "") | {"outages": due}).decode()


def outages_in(cursor: str | None) -> dict[str, Any]:
    """Return what is missing, as `crm_recovery` remembers it."""
    found: dict[str, Any] = orjson.loads(cursor or "")["outages"]
    return found


@pytest.mark.usefixtures("warehouse")
class TestChanges:
    def test_the_first_look_requests_everything_and_the_next_says_what_it_looked_at(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        first = tick("changes", instance)
        assert requested(first) == set(MODELS)
        why = skipped(tick("changes", instance, first.cursor))
        assert why.startswith(f"probed {len(RESOURCES)} listings in 0.")
        assert " s, none changed since 20" in why
        assert why.endswith(" UTC.")
        assert sandbox.requests.total() == 2 * len(RESOURCES)

    def test_exactly_what_changed_is_requested_and_the_cursor_advances_for_that_alone(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        first = tick("changes", instance)
        sandbox.crm.update("deals", next(iter(sandbox.crm.records("deals")))["id"], name="Changed")
        second = tick("changes", instance, first.cursor)
        assert requested(second) == {"deals"}
        before, after = (orjson.loads(one.cursor or "")["fingerprints"] for one in (first, second))
        assert {name for name in before if before[name] != after[name]} == {"deals"}
        assert tick("changes", instance, second.cursor).skip_reason

    def test_a_page_that_becomes_again_what_it_was_is_loaded_again(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        record = next(iter(sandbox.crm.records("deals")))
        cursor, keys = tick("changes", instance).cursor, []
        for name in ("B", "A", "B"):
            sandbox.crm.update("deals", record["id"], name=name)
            result = tick("changes", instance, cursor)
            assert key_of(result) == key_of(tick("changes", instance, cursor))
            keys.append(key_of(result))
            cursor = result.cursor
        assert len(set(keys)) == 3

    def test_what_a_run_loads_at_the_moment_is_not_asked_and_seen_later(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        first = tick("changes", instance)
        sandbox.crm.create("notes")
        run = instance.create_run_for_job(
            defs.resolve_job_def("crm_all"),
            asset_selection=frozenset({asset_key(an_account(), "notes")}),
            status=dg.DagsterRunStatus.STARTED,
        )
        busy = tick("changes", instance, first.cursor)
        assert skipped(busy).endswith("; not probed, because a run is loading them: notes.")
        instance.report_run_failed(run)
        assert requested(tick("changes", instance, busy.cursor)) == {"notes"}

    def test_it_asks_one_listing_at_a_time_over_one_connection(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        tick("changes", instance)
        assert len({seen.port for seen in sandbox.log}) == 1
        assert [seen.resource for seen in sandbox.log] == list(RESOURCES)

    def test_a_crm_that_does_not_answer_is_a_skip_and_one_listing_that_does_not_stops_no_other(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        first = tick("changes", instance)
        sandbox.fault("*=503")
        down = tick("changes", instance, first.cursor)
        assert skipped(down).startswith("contacts: HTTP 503 from ")
        assert skipped(down).endswith(f", and {len(RESOURCES) - 1} more.")
        sandbox.clear_faults()
        sandbox.fault("contacts=503")
        sandbox.crm.create("notes")
        assert requested(tick("changes", instance, down.cursor)) == {"notes"}

    def test_a_refused_login_is_tried_once_and_not_again_for_an_hour(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__CRM__API_KEY", "wrong")
        refused = tick("changes", instance)
        assert skipped(refused).startswith("contacts: HTTP 401 ")
        later = tick("changes", instance, refused.cursor)
        assert "next probe is an hour later" in skipped(later)
        assert sandbox.requests.total() == 1
        monkeypatch.undo()

    def test_a_tick_ends_before_dagster_gives_up_on_it(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox.fault(Fault("companies", "drip", pause=0.02))
        result = hurried_tick(instance)
        assert requested(result) == {"contacts"}
        assert "companies" not in orjson.loads(result.cursor or "")["fingerprints"]

    def test_what_a_slow_crm_left_no_time_for_is_asked_first_at_the_next_tick(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox.fault(Fault("companies", "drip", pause=0.02))
        first = hurried_tick(instance)
        seen = len(sandbox.log)
        assert requested(hurried_tick(instance, first.cursor)) == {*MODELS} - {"contacts", "companies"}
        assert sandbox.log[seen].resource == "deals"

    @pytest.mark.parametrize("sensor", ["changes", "recovery"])
    def test_a_cursor_of_an_earlier_version_is_none(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, sensor: str
    ) -> None:
        for cursor in ("nonsense", '{"fingerprints": 5}', '{"deals": {}}'):
            tick(sensor, instance, cursor)

    def test_numbers_beyond_64_bits_and_deep_nesting_have_a_fingerprint_too(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        deep: list[Any] = []
        for _ in range(900):
            deep = [deep]
        sandbox.fault(Fault("deals", "html", body=json.dumps({"data": [{"id": 1, "x": 10**30, "y": deep}]})))
        assert "deals" in requested(tick("changes", instance))

    def test_a_missing_setting_is_a_skip_that_names_it(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SOURCES__CRM__API_KEY")
        assert "sources.crm.api_key is not set" in skipped(tick("changes", instance))


class TestRecovery:
    def test_nothing_is_asked_while_nothing_is_missing(self, sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
        assert skipped(tick("recovery", instance)).startswith("No table is missing")
        assert not sandbox.requests

    def test_what_is_missing_is_asked_for_with_growing_pauses_and_requested_when_it_answers(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("deals", **DOWN))  # type: ignore[arg-type]
        sandbox.fault(Fault("notes", **DOWN))  # type: ignore[arg-type]
        failed = materialize(["deals", "notes", "tasks"])
        assert not failed.success
        down = tick("recovery", instance)
        assert skipped(down).startswith("Deals, notes: the CRM is not back (deals: HTTP 503 from ")
        before = sandbox.requests.total()
        pausing = tick("recovery", instance, down.cursor)
        assert "next probe at " in skipped(pausing)
        assert sandbox.requests.total() == before

        pauses, cursor = [], down.cursor
        for _ in range(3):
            cursor = tick("recovery", instance, due_now(cursor)).cursor
            ask_at = {outage["ask_at"] for outage in outages_in(cursor).values()}
            pauses.append(datetime.fromisoformat(ask_at.pop()) - datetime.now(UTC))
        assert [round(pause.total_seconds(), -1) for pause in pauses] == [30, 60, 120]

        sandbox.clear_faults()
        back = tick("recovery", instance, due_now(cursor))
        assert requested(back) == {"deals", "notes"}
        assert key_of(back) == f"{failed.run_id[:8]}:deals,notes"
        assert materialize(["deals", "notes"]).success
        over = tick("recovery", instance, back.cursor)
        assert skipped(over).startswith("No table is missing")
        assert outages_in(over.cursor) == {}  # an empty text would leave the old cursor in place

    def test_a_run_that_failed_for_another_reason_is_left_to_people(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault("deals=extra_cursor")
        sandbox.fault("notes=extra_cursor")
        sandbox.fault("tasks=401")
        assert not materialize(["deals", "notes", "tasks"]).success
        assert skipped(tick("recovery", instance)).startswith("No table is missing")

    def test_it_gives_up_after_a_day_and_says_so(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("deals", **DOWN))  # type: ignore[arg-type]
        assert not materialize(["deals"]).success
        before = sandbox.requests.total()
        since = datetime.now(UTC) - timedelta(hours=25)
        cursor = orjson.dumps({"outages": {"deals": {"since": since, "asked": 99, "ask_at": since}}}).decode()
        why = skipped(tick("recovery", instance, cursor))
        assert why.startswith(f"Deals: given up, a day after {since:%Y-%m-%d %H:%M} UTC.")
        assert sandbox.requests.total() == before

    def test_an_outage_of_one_resource_is_not_that_of_another(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("documents", **DOWN))  # type: ignore[arg-type]
        sandbox.fault(Fault("deals", **DOWN))  # type: ignore[arg-type]
        assert not materialize(["documents", "deals"]).success
        sandbox.clear_faults()
        since = datetime.now(UTC) - timedelta(days=3)
        cursor = orjson.dumps({"outages": {"documents": {"since": since, "asked": 99, "ask_at": since}}}).decode()
        assert requested(tick("recovery", instance, cursor)) == {"deals"}

    def test_a_login_that_is_refused_meanwhile_is_tried_once_in_an_hour(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("deals", "notes"):
            sandbox.fault(Fault(name, **DOWN))  # type: ignore[arg-type]
        assert not materialize(["deals", "notes"]).success
        sandbox.clear_faults()
        monkeypatch.setenv("SOURCES__CRM__API_KEY", "wrong")
        before = sandbox.requests.total()
        refused = tick("recovery", instance)
        assert "HTTP 401" in skipped(refused)
        tick("recovery", instance, refused.cursor)
        assert sandbox.requests.total() == before + 1
        soonest = min(datetime.fromisoformat(one["ask_at"]) for one in outages_in(refused.cursor).values())
        assert soonest - datetime.now(UTC) > timedelta(minutes=59)


class TestRecoveryOfARunThatBrokeOff:
    def test_what_it_did_not_load_is_requested_once_without_probes(
        self, sandbox: Sandbox, instance: dg.DagsterInstance
    ) -> None:
        broken = broken_off(instance, "deals", "notes", landed="notes")
        seen = tick("recovery", instance)
        assert skipped(seen).startswith("Deals: next run at ")
        again = tick("recovery", instance, due_now(seen.cursor))
        assert requested(again) == {"deals"}
        assert key_of(again) == f"{broken[:8]}:deals"
        assert key_of(tick("recovery", instance, again.cursor)) == key_of(again)
        assert not sandbox.requests

    def test_it_is_requested_three_times_in_a_row_with_growing_pauses_and_then_stays_failed(
        self, instance: dg.DagsterInstance
    ) -> None:
        cursor, pauses, keys = None, [], set()
        for _ in range(3):
            broken_off(instance, "deals")
            cursor = tick("recovery", instance, cursor).cursor
            ask_at = outages_in(cursor)["deals"]["ask_at"]
            pauses.append(round((datetime.fromisoformat(ask_at) - datetime.now(UTC)).total_seconds(), -1))
            again = tick("recovery", instance, due_now(cursor))
            [request] = again.run_requests or []
            assert request.tags["dagster/max_retries"] == "0"
            keys.add(request.run_key)
            cursor = again.cursor
        assert (pauses, len(keys)) == ([10, 60, 240], 3)
        broken_off(instance, "deals")
        given_up = tick("recovery", instance, due_now(cursor))
        assert skipped(given_up).startswith("Deals: given up, 4 runs in a row broke off; ")
        run_of(instance, "deals")
        loading = tick("recovery", instance, given_up.cursor)
        assert skipped(loading) == "Deals: a run is loading it."
        assert outages_in(loading.cursor)["deals"]["broken_off"] == 4

    def test_it_begins_to_count_anew_when_the_table_has_landed(self, instance: dg.DagsterInstance) -> None:
        broken_off(instance, "deals")
        cursor = tick("recovery", instance).cursor
        broken_off(instance, "deals", landed="deals")
        landed = tick("recovery", instance, cursor)
        assert skipped(landed).startswith("No table is missing")
        assert outages_in(landed.cursor) == {}

    def test_a_run_that_a_person_ended_is_not_requested(self, instance: dg.DagsterInstance) -> None:
        broken_off(instance, "deals")
        cursor = tick("recovery", instance).cursor
        instance.report_run_canceled(run_of(instance, "deals"))
        assert skipped(tick("recovery", instance, due_now(cursor))).startswith("No table is missing")

    def test_a_run_that_dagster_will_try_again_is_requested_only_if_it_does_not(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken_off(instance, "deals", will_retry="true")
        first = tick("recovery", instance)
        assert skipped(first).startswith("No table is missing")
        now = time()
        monkeypatch.setattr(run_history, "time", lambda: now + 130)
        late = tick("recovery", instance, first.cursor)
        assert skipped(late).startswith("Deals: next run at ")
        assert requested(tick("recovery", instance, due_now(late.cursor))) == {"deals"}

    def test_one_that_dagster_has_tried_again_is_not_requested(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken_off(instance, "deals", will_retry="true", auto_retry_run_id="another")
        now = time()
        monkeypatch.setattr(run_history, "time", lambda: now + 130)
        assert skipped(tick("recovery", instance)).startswith("No table is missing")

    def test_another_account_leaves_it_alone(self, instance: dg.DagsterInstance) -> None:
        broken_off(instance, "deals")
        assert skipped(tick("recovery", instance, account=an_account("acme"))).startswith("No table is missing")

    def test_a_table_that_the_crm_did_not_give_is_probed_beside_it(
        self, sandbox: Sandbox, instance: dg.DagsterInstance, materialize: Materialize
    ) -> None:
        sandbox.fault(Fault("notes", **DOWN))  # type: ignore[arg-type]
        assert not materialize(["notes"]).success
        broken_off(instance, "deals")
        sandbox.clear_faults()
        cursor = tick("recovery", instance).cursor
        both = tick("recovery", instance, due_now(cursor)).run_requests or []
        assert [[key.path[-1] for key in request.asset_selection or []] for request in both] == [["deals"], ["notes"]]


def run_of(instance: dg.DagsterInstance, *resources: str) -> dg.DagsterRun:
    """Return a run that Dagster launched and that loads `resources` now."""
    return instance.create_run_for_job(
        defs.resolve_job_def("crm_all"),
        asset_selection=frozenset(asset_key(an_account(), name) for name in resources),
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=LAUNCHED,
        job_code_origin=CODE,
    )


def broken_off(instance: dg.DagsterInstance, *resources: str, landed: str = "", **tags: str) -> str:
    """Let the process of a run die that should load `resources`, when it has loaded `landed`; return the run's id.

    Args:
        instance: where the run is.
        resources: what it should load.
        landed: what it has loaded.
        tags: what Dagster says of the run, without `dagster/`.
    """
    run = run_of(instance, *resources)
    if landed:
        data = StepMaterializationData(dg.AssetMaterialization(asset_key(an_account(), landed)))
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION.value
        event = dg.DagsterEvent(kind, run.job_name, event_specific_data=data, step_key="crm")
        instance.report_dagster_event(event, run.run_id)
    instance.report_run_failed(run)
    instance.add_run_tags(run.run_id, {f"dagster/{name}": value for name, value in tags.items()})
    return run.run_id
