"""Jobs, their schedules, and the freshness that follows from them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.definitions import defs
from crm_assets.errors import ApiConfigError, SettingError
from crm_assets.orchestration.freshness import longest_span
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.schedules import crons
from crm_assets_tests.conftest import V1, an_account

FREQUENT = {"contacts", "companies", "deals", "notes", "tasks", "events", "tickets"}
DAILY = {"milestone", "campaigns", "documents", "ticket_filters"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk: the context of a schedule opens it a second time."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as temporary:
        yield temporary


@pytest.mark.parametrize(("job", "resources"), [("crm_frequent", FREQUENT), ("crm_daily", DAILY)])
def test_each_cadence_has_a_job_with_its_tables_and_their_checks(job: str, resources: set[str]) -> None:
    layer = defs.resolve_job_def(job).asset_layer
    selected = {key.path[-1] for key in layer.selected_asset_keys}
    named = {row["name"] for row in V1["resources"] if job == f"crm_{row.get('cadence', 'daily')}"}
    assert selected == named >= resources
    assert {key.asset_key.path[-1] for key in layer.asset_graph.asset_check_keys} >= selected


@pytest.mark.parametrize(("schedule", "cron"), [("crm_frequent", "*/15 * * * *"), ("crm_daily", "5 3 * * *")])
def test_a_tick_requests_a_run_unless_the_last_one_still_works(
    schedule: str, cron: str, instance: dg.DagsterInstance
) -> None:
    definition = defs.resolve_schedule_def(f"{schedule}_schedule")
    assert definition.cron_schedule == cron
    assert definition.default_status is dg.DefaultScheduleStatus.STOPPED
    context = dg.build_schedule_context(instance=instance)
    [request] = definition.evaluate_tick(context).run_requests or []
    assert request.job_name in (None, schedule)
    run = instance.create_run_for_job(defs.resolve_job_def(schedule), status=dg.DagsterRunStatus.STARTED)
    data = definition.evaluate_tick(context)
    assert not data.run_requests
    assert data.skip_message == f"The run {run.run_id[:8]} of {schedule} is still started: this tick is skipped."
    instance.report_run_failed(run)
    assert definition.evaluate_tick(context).run_requests


def test_freshness_follows_from_the_cadence() -> None:
    def windows(resource: str) -> tuple[timedelta, timedelta]:
        policy = defs.resolve_asset_graph().get(asset_key(an_account(), resource)).freshness_policy
        assert policy is not None
        return policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()  # type: ignore[attr-defined]

    assert windows("contacts") == (timedelta(minutes=30), timedelta(hours=1))
    assert windows("milestone") == (timedelta(days=2), timedelta(days=4))


@pytest.mark.parametrize(
    ("cron", "two", "four"),
    [
        ("*/15 * * * *", timedelta(minutes=30), timedelta(hours=1)),
        ("5 3 * * *", timedelta(days=2), timedelta(days=4)),
        ("0 8-18 * * 1-5", timedelta(hours=63), timedelta(hours=65)),
        ("* 8-18 * * 1-5", timedelta(hours=61, minutes=2), timedelta(hours=61, minutes=4)),
        ("0 6 * * 1-5", timedelta(days=4), timedelta(days=6)),
        ("0 0 8-31 * *", timedelta(days=9), timedelta(days=11)),
        ("0 0 1 * *", timedelta(days=62), timedelta(days=123)),
    ],
)
def test_so_many_missed_ticks_of_a_cron_count_nights_and_weekends(cron: str, two: timedelta, four: timedelta) -> None:
    assert (longest_span(cron, 2), longest_span(cron, 4)) == (two, four)


def test_a_cron_that_is_none_is_named_with_its_setting() -> None:
    with pytest.raises(SettingError, match=r"^automation\.daily_cron cannot be used: 'often' is not a cron .*_CRON"):
        crons(an_account(automation={"daily_cron": "often"}))
    with pytest.raises(SettingError, match=r"'0 0 31 2,4 \*' is not a cron"):
        crons(an_account(automation={"daily_cron": "0 0 31 2,4 *"}))


def test_the_environment_switches_automation_on_and_narrows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOMATION__ENABLED", "true")
    monkeypatch.setenv("AUTOMATION__WATCH", "deals, notes")
    automation = an_account().automation
    assert automation.enabled
    assert automation.watch == ("deals", "notes")


def test_an_unknown_resource_to_watch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOMATION__WATCH", "deals, leads")
    with pytest.raises(ApiConfigError, match=r"Unknown resource: leads\. Known: contacts"):
        an_account()
