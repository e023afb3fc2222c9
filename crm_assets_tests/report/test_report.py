"""The report: what the checks said, for a terminal, a browser and a machine."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import pytest

from crm_assets.quality.checks import ADVICE, CHECKS
from crm_assets.report import results
from crm_assets.report.collect import collect
from crm_assets.report.formats import as_json, as_junit, as_markdown, as_openmetrics
from crm_assets.report.html import as_html
from crm_assets.report.results import Report, only_failures, summarize
from crm_assets.report.tables import Table, table_of
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
CSS = Path(results.__file__).with_name("report.css")


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


def test_the_json_has_the_documented_shape(found: Report) -> None:
    document = json.loads(as_json(found))
    assert document.keys() == {"version", "generated_at", "ok", "summary", "assets"}
    assert document["summary"]["tables"] == {"ERROR": 1, "WARN": 0, "passed": 1}
    assert (document["version"], document["ok"]) == (2, False)
    asset = document["assets"][0]
    assert asset.keys() == {
        *("key", "table", "rows", "ok", "last_materialized", "last_load", "loads", "freshness", "checks")
    }
    assert [load["rows_new"] for load in document["assets"][1]["loads"]] == [1, SMALL["tasks"]]
    counts = ("rows", "rows_new", "rows_changed", "rows_deleted", "rows_rejected")
    assert asset["loads"][0].keys() == {*asset["last_load"].keys(), "seconds", *counts}
    assert asset["last_load"].keys() == {"outcome", "ended_at", "problem", "run_id"}
    assert (asset["last_load"]["outcome"], asset["last_load"]["problem"]) == ("landed", None)
    check = document["assets"][0]["checks"][0]
    assert check.keys() == {
        *("name", "passed", "severity", "description", "evaluated_at", "since", "failed_rows", "metadata")
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", check["evaluated_at"])


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
    assert not re.search(r"src=|url\(|@import|<script|<link", page)
    assert set(re.findall(r"href=\"(?!#)([^\"]*?)/(?:assets|runs)/", page)) == {"http://127.0.0.1:3000"}
    assert "<b>" not in page


def test_the_html_says_first_what_is_wrong_and_what_to_do_and_folds_the_rest(found: Report) -> None:
    page = as_html(found)
    assert "<h1>✗ 1 table with errors, of 2 tables</h1>" in page
    assert page.index("What is wrong") < page.index("All tables")
    wrong = page[page.index("What is wrong") : page.index("All tables")]
    assert wrong.index("crm/tasks · unique_id") < wrong.index("crm/tasks · drift")
    assert ADVICE["unique_id"] in unescape(wrong)
    assert '<th scope="col">id</th>' in wrong
    assert page.count('<details class="asset"') == len(found.assets)
    assert "<details open" not in page
    assert re.search(r"max 2\d · 2 loads", page)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_can_be_read_on_every_ground(scheme: str) -> None:
    colours = _colours(scheme)
    grounds = ["page", "card", "good-tint", "warn-tint", "bad-tint"]
    pairs = [(text, ground) for text in ("text", "muted", "link") for ground in grounds]
    pairs += [("good", "good-tint"), ("warn", "warn-tint"), ("bad", "bad-tint")]
    pairs += [(sign, ground) for sign in ("good", "warn", "bad") for ground in ("page", "card")]
    ratios = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3, AA


def test_no_colour_stands_outside_the_two_lists() -> None:
    style = CSS.read_text()
    lists = "".join(re.findall(r":root \{.*?\}", style, flags=re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b", style) == re.findall(r"#[0-9a-f]{6}\b", lists)


def _colours(scheme: str) -> dict[str, str]:
    light, dark, on_paper = re.findall(r":root \{(.*?)\}", CSS.read_text(), flags=re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", {"light": light, "dark": dark, "print": on_paper}[scheme]))


def _contrast(one: str, other: str) -> float:
    brighter, darker = sorted(map(_luminance, (one, other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("form", [as_markdown, as_junit])
def test_only_failures_says_nothing_of_a_load_that_ended_well(found: Report, form: Callable[[Report], str]) -> None:
    assert "unique_id" in form(only_failures(found))
    assert not re.search(r"\| load \||name=\"load\"", form(only_failures(found)))
    assert re.search(r"\| load \||name=\"load\"", form(found))


def test_a_table_is_the_same_whether_the_history_has_it_as_markdown_or_as_dagster_has_it() -> None:
    table = Table(["id", "brand|New"], [["77", "a|b"], ["78", "NULL"]])
    assert table_of(table.markdown) == table
    records = [dg.TableRecord({"id": 77, "brand|New": "a|b"}), dg.TableRecord({"id": 78, "brand|New": None})]
    schema = dg.TableSchema([dg.TableColumn("id"), dg.TableColumn("brand|New")])
    assert table_of(dg.MetadataValue.table(records, schema)) == table
    assert table_of("no table") is None


def test_every_check_says_what_to_do() -> None:
    assert ADVICE.keys() == CHECKS.keys()


def test_a_report_with_rejected_records_is_json_too(
    warehouse: Warehouse, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    sandbox.crm.replace("notes", 1, {"id": None, "subject": "No key"})
    run_assets(instance, ["notes"])
    [asset] = json.loads(as_json(collect(instance, [an_account()], ["notes"])))["assets"]
    [rejected] = [one for one in asset["checks"] if one["name"] == "rejected"]
    assert rejected["metadata"]["rejected_records"] == "crm/rejected_records"
    assert rejected["metadata"]["failed_rows"].startswith("| ")


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
    sandbox.clear_faults()
    run_assets(instance, ["tasks"])
    assert collect(instance, [an_account()], ["notes", "tasks"]).ok


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
