"""The report in a browser: what is wrong first, every table, and colours that everybody can read."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

import crm_assets.report
from crm_assets.orchestration.run import State
from crm_assets.quality.checks import ADVICE, CHECKS
from crm_assets.report.html import as_html
from crm_assets.report.results import AssetResult, CheckResult, LoadResult, Report, only_failures, summarize
from crm_assets.report.tables import Table

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CSS = (Path(crm_assets.report.__path__[0]) / "report.css").read_text()
TEXTS = {"text", "muted", "link", "good", "warn", "bad"}
GROUNDS = {"page", "card", "good-tint", "warn-tint", "bad-tint"}


def a_check(name: str, state: State = "passed", **more: object) -> CheckResult:
    severity = "ERROR" if state == "passed" else state
    check = CheckResult(name, state == "passed", severity, f"What {name} found.", NOW, NOW, {}, [state])
    return replace(check, **more)  # type: ignore[arg-type]


def an_asset(key: str, *checks: CheckResult, rows: tuple[int, ...] = (10, 30, 20)) -> AssetResult:
    loads = [
        LoadResult("landed", NOW - timedelta(hours=age), run_id=f"run{age}", seconds=2.0 + age, rows=count, rows_new=1)
        for age, count in enumerate(reversed(rows))
    ]
    return AssetResult(key, "crm", f"warehouse.{key}", rows[-1], NOW, loads[0], None, checks, loads)


def a_report(*assets: AssetResult) -> Report:
    return Report(NOW, assets, summarize(assets))


def test_the_headline_says_how_many_tables_are_wrong() -> None:
    failing, warned = an_asset("crm/a", a_check("nulls", "ERROR")), an_asset("crm/b", a_check("drift", "WARN"))
    fine = an_asset("crm/c", a_check("nulls"))
    assert "<h1>✗ 1 table with errors and 1 table with warnings, of 3 tables</h1>" in as_html(
        a_report(failing, warned, fine)
    )
    assert "<h1>! 1 table with warnings, of 2 tables</h1>" in as_html(a_report(warned, fine))
    assert "<h1>✓ All is well: 1 table, no errors, no warnings</h1>" in as_html(a_report(fine))


def test_the_headline_is_about_all_tables_though_only_failures_are_shown() -> None:
    report = a_report(an_asset("crm/a", a_check("nulls", "ERROR"), a_check("schema")), an_asset("crm/b"))
    page = as_html(only_failures(report))
    assert "<h1>✗ 1 table with errors, of 2 tables</h1>" in page
    assert "crm/b" not in page
    assert "What schema found" not in page


def test_errors_come_before_warnings_and_both_before_the_tables() -> None:
    page = as_html(a_report(an_asset("crm/a", a_check("drift", "WARN")), an_asset("crm/b", a_check("nulls", "ERROR"))))
    assert page.index("What nulls found.") < page.index("What drift found.") < page.index("All tables")


def test_each_failure_says_what_was_expected_and_what_to_do() -> None:
    page = as_html(a_report(an_asset("crm/a", a_check("nulls", "ERROR"))))
    assert "Required columns contain no NULL." in page
    assert ADVICE["nulls"] in page


def test_every_check_has_advice() -> None:
    assert ADVICE.keys() == CHECKS.keys()
    assert all(check.__doc__ for check in CHECKS.values())


def test_what_is_wrong_with_all_tables_is_said_once() -> None:
    never = [replace(an_asset(f"crm/{name}"), last_materialized=None, loads=(), rows=None) for name in "abc"]
    page = as_html(a_report(*never))
    assert page.count("<article") == 1
    assert "crm/a, crm/b, crm/c · load" in page


def test_failed_rows_are_a_table_with_a_head_and_the_sql_is_folded() -> None:
    rows = Table(("id", "value"), [("7", "<i>")])
    check = a_check("ranges", "WARN", failed_rows=rows, metadata={"sql": "```sql\nSELECT 1\n```", "failed_rows": "|"})
    page = as_html(a_report(an_asset("crm/a", check)))
    assert '<th scope="col">id</th><th scope="col">value</th>' in page
    assert "<td>7</td><td>&lt;i&gt;</td>" in page
    assert re.search(r"<details class=\"more\"><summary>[^<]+</summary><pre>SELECT 1</pre></details>", page)


def test_trends_say_their_numbers() -> None:
    page = as_html(a_report(an_asset("crm/a")))
    assert 'aria-label="Rows, the oldest first: 10; 30; 20"' in page
    assert "last 20 " in page
    assert "min 10 · max 30 · 3 loads" in page
    assert 'aria-label="Load time, the oldest first: 4.0 s; 3.0 s; 2.0 s"' in page
    assert "<polyline" not in as_html(a_report(an_asset("crm/a", rows=(10,))))


def test_links_lead_to_the_dagster_ui_where_its_address_is_known() -> None:
    asset = an_asset("crm/a", a_check("nulls", "ERROR"))
    assert "http" not in as_html(a_report(asset))
    page = as_html(a_report(replace(asset, dagster_url="https://dagster.example.com")))
    assert 'href="https://dagster.example.com/assets/crm/a"' in page
    assert 'href="https://dagster.example.com/runs/run0"' in page


def test_every_link_within_the_page_has_a_target() -> None:
    page = as_html(a_report(an_asset("crm/a", a_check("nulls", "ERROR")), an_asset("crm/b")))
    targets = re.findall(r'href="#([^"]+)"', page)
    assert targets
    assert set(targets) <= set(re.findall(r'id="([^"]+)"', page))


def palettes() -> list[dict[str, str]]:
    """The lists of colours as the style sheet has them: light, dark, print."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_text_can_be_read_on_every_ground(mode: int) -> None:
    colors = palettes()[mode]
    assert colors.keys() == TEXTS | GROUNDS | {"line"}
    ratios = {pair: contrast(colors[pair[0]], colors[pair[1]]) for pair in product(TEXTS, GROUNDS)}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_no_colour_stands_anywhere_else_and_nothing_is_made_paler() -> None:
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.S)
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb|hsl|opacity", rules)
    used = set(re.findall(r"var\(--([\w-]+)\)", rules))
    assert used == TEXTS | GROUNDS | {"line"}
    assert set(re.findall(r"(?<![\w-])color: var\(--([\w-]+)\)", rules)) <= TEXTS
    assert set(re.findall(r"background: var\(--([\w-]+)\)", rules)) <= GROUNDS
