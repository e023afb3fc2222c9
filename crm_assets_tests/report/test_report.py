"""The report: what the checks said, for a terminal, a browser and a machine."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import dagster as dg
import pytest

from crm_assets.report.collect import collect
from crm_assets.report.formats import as_json, as_junit, as_markdown, as_openmetrics
from crm_assets.report.html import as_html
from crm_assets.report.results import Report, only_failures, summarize
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import (
    API_KEY,
    EMAIL,
    SMALL,
    Command,
    Warehouse,
    an_account,
    run_assets,
    warehouse_in,
)

CHROMIUM = shutil.which("chromium")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small CRM without undeclared fields: there is nothing to find."""
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY, undeclared=False) as running:
        yield running


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report after a clean load of two tables and one with an error and a warning."""
    directory = tmp_path_factory.mktemp("report")
    with (
        Sandbox(SMALL, email=EMAIL, api_key=API_KEY, undeclared=False) as crm,
        dg.DagsterInstance.ephemeral() as history,
        pytest.MonkeyPatch.context() as environment,
    ):
        warehouse_in(directory, crm, environment)
        run_assets(history, ["notes", "tasks"])
        crm.crm.replace("tasks", 5, {"id": 77, "brand|New": "<b>"})
        crm.crm.replace("tasks", 15, {"id": 77})
        run_assets(history, ["tasks"])
        return collect(history, [an_account()], ["notes", "tasks"])


def test_it_has_the_latest_result_of_every_check_that_ever_ran(found: Report) -> None:
    notes, tasks = found.assets
    assert (tasks.key, tasks.table, tasks.state) == ("crm/tasks", "warehouse.crm.tasks", "ERROR")
    assert (notes.key, notes.rows, notes.state) == ("crm/notes", SMALL["notes"], "passed")
    assert not found.ok
    states = {check.name: check.state for check in tasks.checks}
    assert states["unique_id"] == "ERROR"
    assert states["drift"] == "WARN"
    assert set(states.values()) == {"ERROR", "WARN", "passed"}


def test_it_says_since_when_a_check_is_as_it_is_and_how_it_was_before(found: Report) -> None:
    checks = {check.name: check for check in found.assets[1].checks}
    assert list(checks["unique_id"].history) == ["passed", "ERROR"]
    assert checks["unique_id"].since == checks["unique_id"].evaluated_at
    assert checks["schema"].since < checks["schema"].evaluated_at
    assert len(found.assets[1].row_history) == 2


def test_only_failures_leaves_out_what_passed(found: Report) -> None:
    failing = only_failures(found)
    assert [asset.key for asset in failing.assets] == ["crm/tasks"]
    assert {check.name for check in failing.assets[0].checks} >= {"unique_id", "drift"}
    assert all(not check.passed for check in failing.assets[0].checks)
    assert not failing.ok
    assert failing.summary == found.summary


def test_only_failures_leaves_out_the_load_that_ended_well(found: Report) -> None:
    failing = only_failures(found)
    assert "passed" not in as_markdown(failing)
    cases = ElementTree.fromstring(as_junit(failing)).iter("testcase")  # noqa: S314 - our own text
    assert {case.get("name") for case in cases} == {check.name for check in failing.assets[0].checks}


def test_the_json_has_the_documented_shape(found: Report) -> None:
    document = json.loads(as_json(found))
    assert document.keys() == {"version", "generated_at", "ok", "summary", "assets"}
    assert document["summary"].keys() == {"tables", "checks", "rows", "oldest_load", "newest_load"}
    assert document["summary"]["tables"] == {"passed": 1, "WARN": 0, "ERROR": 1}
    assert (document["version"], document["ok"]) == (2, False)
    asset = document["assets"][0]
    known = {"key", "table", "rows", "ok", "last_materialized", "last_load", "loads", "freshness", "checks"}
    assert asset.keys() == known
    [load] = asset["loads"]
    assert (load["outcome"], load["rows"], load["rows_new"]) == ("landed", SMALL["notes"], SMALL["notes"])
    assert load["seconds"] > 0
    assert asset["last_load"].keys() == {"outcome", "ended_at", "problem", "run_id"}
    assert (asset["last_load"]["outcome"], asset["last_load"]["problem"]) == ("landed", None)
    check = document["assets"][0]["checks"][0]
    known = {"name", "passed", "severity", "description", "evaluated_at", "since", "failed_rows", "metadata"}
    assert check.keys() == known
    unique_id = next(one for one in document["assets"][1]["checks"] if one["name"] == "unique_id")
    assert unique_id["failed_rows"] == {"columns": ["id"], "rows": [["77"]]}
    assert unique_id["metadata"]["failed_rows"] == "| id |\n| --- |\n| 77 |"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", check["evaluated_at"])


def test_a_report_with_rejected_records_is_json_too(
    warehouse: Warehouse, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    sandbox.crm.replace("notes", 1, {"id": None, "subject": "No key"})
    run_assets(instance, ["notes"])
    [asset] = json.loads(as_json(collect(instance, [an_account()], ["notes"])))["assets"]
    [rejected] = [one for one in asset["checks"] if one["name"] == "rejected"]
    assert rejected["metadata"]["rejected_records"] == "crm/rejected_records"
    assert rejected["metadata"]["failed_rows"].startswith("| ")


def test_markdown_has_one_line_per_check_and_no_broken_cell(found: Report) -> None:
    lines = [line for line in as_markdown(found).splitlines() if line.startswith("| crm/")]
    assert len(lines) == sum(len(asset.findings) for asset in found.assets)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines)


def test_junit_counts_errors_as_failures_and_warnings_not(found: Report) -> None:
    root = ElementTree.fromstring(as_junit(found))  # noqa: S314 - our own text
    tasks = root.find("testsuite[@name='crm/tasks']")
    assert tasks is not None
    assert tasks.get("failures") == "1"
    assert [case.get("name") for case in tasks.findall("testcase") if case.find("failure") is not None] == ["unique_id"]


def test_openmetrics_say_what_the_report_says(found: Report) -> None:
    text = as_openmetrics(found)
    assert text.endswith("# EOF\n")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['crm_assets_rows{asset="crm/notes",dataset="crm"}'] == str(SMALL["notes"])
    assert samples['crm_assets_checks{asset="crm/tasks",dataset="crm",outcome="ERROR"}'] == "1"
    assert samples['crm_assets_ok{asset="crm/tasks",dataset="crm"}'] == "0"
    assert samples['crm_assets_last_load_ok{asset="crm/tasks",dataset="crm"}'] == "1"
    assert float(samples['crm_assets_age_seconds{asset="crm/notes",dataset="crm"}']) >= 0


def test_the_html_is_one_file_without_outside_references_and_without_the_crms_markup(found: Report) -> None:
    page = as_html(found)
    assert not re.search(r"src=|<link|url\(|@import|<script", page)
    assert {urlsplit(address).netloc for address in re.findall(r'href="([^"]*)"', page)} == {"", "127.0.0.1:3000"}
    assert "<b>" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian's package of that name)")
def test_a_browser_shows_the_html(found: Report, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(as_html(found))
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    more = f"--disable-sync --no-first-run --user-data-dir={tmp_path / 'profile'} --dump-dom"
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), *more.split(), page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "✗ 1 table with errors, of 2 tables" in done.stdout
    assert done.stdout.count("<details") == page.read_text().count("<details")
    assert "more than once: 77" in done.stdout


def test_what_was_never_loaded_is_no_all_clear(instance: dg.DagsterInstance) -> None:
    report = collect(instance, [an_account()])
    assert not report.ok
    assert [one.description for one in report.assets[0].findings] == ["crm_sandbox: was never loaded."]
    assert "was never loaded" in as_html(report)


def test_a_load_that_failed_is_no_all_clear_and_its_table_is_checked_as_it_is(
    warehouse: Warehouse, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    run_assets(instance, ["notes", "tasks"])
    sandbox.fault(Fault("tasks", "status", retry_after="9999"))
    failed = run_assets(instance, ["notes", "tasks"])
    assert not failed.success
    checked = {one.asset_key.path[-1] for one in failed.get_asset_check_evaluations() if one.passed}
    assert checked == {"notes", "tasks"}
    report = collect(instance, [an_account()], ["notes", "tasks"])
    assert not report.ok
    notes, tasks = report.assets
    assert (notes.state, notes.load.ending) == ("passed", "landed")
    assert (tasks.state, tasks.load.ending, tasks.rows) == ("ERROR", "failed", SMALL["tasks"])
    [load] = [one.description for one in tasks.findings if one.state == "ERROR"]
    assert load.startswith("tasks: HTTP 503 from ")
    assert [one.ending for one in tasks.loads] == ["failed", "landed"]
    assert tasks.loads[0].problem == load
    assert [one.ending for one in notes.loads] == ["landed", "landed"]
    sandbox.clear_faults()
    run_assets(instance, ["tasks"])
    report = collect(instance, [an_account()], ["notes", "tasks"])
    assert report.ok
    assert [one.ending for one in report.assets[1].loads] == ["landed", "failed", "landed"]


def test_a_run_of_which_nothing_came_checks_what_is_there(
    warehouse: Warehouse, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    sandbox.fault(Fault("tasks", "status", retry_after="9999"))
    assert not run_assets(instance, ["tasks"]).get_asset_check_evaluations()
    assert not warehouse.path.exists()
    sandbox.clear_faults()
    run_assets(instance, ["tasks"])
    sandbox.fault(Fault("tasks", "status", retry_after="9999"))
    failed = run_assets(instance, ["tasks"])
    assert not failed.success
    assert failed.get_asset_check_evaluations()
    assert all(one.passed for one in failed.get_asset_check_evaluations())


def test_what_happened_in_another_dataset_says_nothing_of_this_one(
    warehouse: Warehouse, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    run_assets(instance, ["notes"])
    elsewhere = an_account(dataset="elsewhere")
    sandbox.crm.replace("notes", 1, next(sandbox.crm.records("notes")))
    run_assets(instance, ["notes"], account=elsewhere)
    [here] = collect(instance, [an_account()], ["notes"]).assets
    assert (here.state, {one.state for one in here.checks}) == ("passed", {"passed"})
    [similar] = collect(instance, [an_account(dataset="where")], ["notes"]).assets
    assert similar.load.ending == "never"
    run_assets(instance, ["notes"], account=an_account(dataset="else_crm"))
    assert len(collect(instance, [an_account()], ["notes"]).assets[0].row_history) == 1
    [there] = collect(instance, [elsewhere], ["notes"]).assets
    assert [one.name for one in there.checks if one.state == "ERROR"] == ["unique_id"]


@pytest.mark.parametrize(("enabled", "age", "state"), [(True, 45, "WARN"), (True, 90, "ERROR"), (False, 90, None)])
def test_a_table_that_schedules_load_can_be_stale(
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    enabled: bool,
    age: int,
    state: str | None,
) -> None:
    monkeypatch.setenv("AUTOMATION__ENABLED", str(enabled).lower())
    run_assets(instance, ["notes"])
    later = datetime.now(UTC) + timedelta(minutes=age)
    [notes] = collect(instance, [an_account()], ["notes"], now=later).assets
    assert (notes.freshness and notes.freshness.state) == state
    assert notes.state == (state or "passed")


def test_the_command_writes_files_and_gates_by_its_exit_code(
    crm_assets: Command,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    assert crm_assets("sync", "tasks").returncode == 0
    assert crm_assets("report").returncode == 1  # ten tables were never loaded
    sandbox.crm.replace("tasks", 5, {"id": 77})
    sandbox.crm.replace("tasks", 15, {"id": 77})
    done = crm_assets("sync", "tasks")
    assert done.returncode == 1
    assert "unique_id" in done.stdout
    for form in ("terminal", "html"):
        file = tmp_path / f"report.{form}"
        assert crm_assets("report", "--format", form, "--output", str(file), "--only-failures").returncode == 1
        assert "more than once: 77" in file.read_text()
        assert "declared columns are as declared" not in file.read_text()
    assert crm_assets("check", "tasks").returncode == 1


def test_a_warning_does_not_gate(found: Report) -> None:
    tasks = found.assets[1]
    warned = replace(tasks, checks=[check for check in tasks.checks if check.state != "ERROR"])
    assert Report(found.generated_at, [warned], summarize([warned])).ok
