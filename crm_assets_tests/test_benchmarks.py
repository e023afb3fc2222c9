"""The benchmarks run, and make the right figures of what they measure."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest

from benchmarks.chart import chart
from benchmarks.figures import LATENCIES, figures_of, goals_of
from benchmarks.landed import problem_of
from benchmarks.report import tables
from benchmarks.run import Sample
from benchmarks.timeline import Timeline


def sample(peer: str, seconds: float, **more: object) -> Sample:
    """Return a sample of a run that landed everything."""
    usual = Sample(peer, 0.0, False, seconds, cpu=seconds, memory=100_000_000, processes=1, size=10_000_000)
    return replace(usual, **more)  # type: ignore[arg-type] # fields of a Sample


def of_all(ours: float = 3.0, landed: float = 2.0) -> list[Sample]:
    """Return samples of a floor, two peers and ours at each latency, fresh and again."""
    timeline = Timeline(landed=landed, bookkeeping=ours / 4, checks=115, stages={"parsing": ours / 8})
    return [
        sample(peer, seconds, latency=latency, again=again, timeline=timeline if peer == "ours" else None)
        for latency in LATENCIES
        for again in (False, True)
        for peer, seconds in (("floor", 1.0), ("dagster-dlt", 5.0), ("singer", 4.0), ("ours", ours))
    ]


def found(samples: list[Sample]) -> dict[str, tuple[float | None, str]]:
    """Return what was found for each goal, and the verdict."""
    return {goal.text: (goal.found, goal.verdict) for goal in goals_of(figures_of(samples))}


def test_a_figure_is_the_median_of_its_runs_and_the_largest_memory() -> None:
    samples = [sample("dlt", seconds, memory=int(seconds * 100)) for seconds in (9.0, 2.0, 3.0)]
    figure = figures_of(samples)["dlt", 0.0, False]
    assert (figure.seconds, figure.cpu, figure.memory, figure.problem) == (3.0, 3.0, 900, None)


def test_one_run_that_lost_records_leaves_its_peer_without_a_number() -> None:
    lost = "deals: lost 1 of 5000 records"
    samples = [*of_all(), sample("singer", 0.1, problem=lost)]
    assert lost in tables(figures_of(samples), {})
    assert found(samples)["whole process, against the fastest peer (dagster-dlt), 0 ms"] == (0.6, "holds")


def test_goals_compare_with_the_peer_named_and_with_the_fastest() -> None:
    goals = found(of_all())
    assert goals["whole process, against Dagster with dlt (dagster-dlt), 0 ms"] == (0.6, "holds")
    assert goals["whole process, against Dagster with dlt (dagster-dlt), 20 ms"] == (0.6, "does not hold")
    assert goals["whole process, against the fastest peer (singer), 0 ms"] == (0.75, "holds")
    assert goals["whole process, against the fastest peer (singer), 20 ms"] == (0.75, "does not hold")
    landed = "start of the run to the last table landed, against the floor's whole time"
    assert goals[f"{landed}, 0 ms"] == (2.0, "holds")
    assert goals[f"{landed}, 20 ms"] == (2.0, "does not hold")
    share = "share of checks and Dagster's bookkeeping in the whole process"
    assert goals[f"{share}, 0 ms"] == (0.25, "holds")


def test_memory_is_compared_with_the_smallest_peer_and_with_the_floor() -> None:
    samples = [
        *of_all(),
        sample("ours", 3.0, again=True, memory=150_000_000),
        sample("singer", 4.0, memory=200_000_000),
    ]
    goals = found(samples)
    assert goals["peak memory, against the smallest peer"] == (1.5, "does not hold")
    assert goals["peak memory, against the floor"] == (1.5, "holds")


def test_a_run_again_is_compared_with_the_first() -> None:
    samples = [replace(one, size=14_000_000) if one.again else one for one in of_all()]
    goals = found(samples)
    assert goals["again on unchanged data, seconds against the first time, 0 ms"] == (1.0, "holds")
    assert goals["again on unchanged data, database against the first time, 0 ms"] == (1.4, "does not hold")


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    goals = goals_of(figures_of([sample("ours", 3.0)]))
    verdicts = {goal.text: goal.verdict for goal in goals}
    assert verdicts["peak memory, against the floor"] == "not measured"


def test_a_peer_that_cannot_be_installed_is_a_line_with_the_reason() -> None:
    text = tables(figures_of(of_all()), {"pyairbyte": "ERROR: no matching distribution"})
    assert "| PyAirbyte, low-code source | not installed: ERROR: no matching distribution |" in text


def test_the_chart_has_the_seconds_of_each_peer_with_their_unit() -> None:
    svg = ElementTree.fromstring(chart(figures_of(of_all(ours=3.25))))  # noqa: S314 - our own
    texts = [element.text for element in svg.iter() if element.tag.endswith("text")]
    assert texts.count("3.2 s") == len(LATENCIES)
    assert "Singer SDK tap to target-duckdb" in texts


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("(1, 'red'), (2, 'blue')", None),
        ("(1, 'red')", "deals: lost 1 of 2 records"),
        ("(1, 'red'), (3, 'blue')", "deals: lost 1 of 2 records"),
        ("(1, 'red'), (2, 'blue'), (2, 'blue')", "deals: has 3 rows for 2 records"),
        ("(1, 'red'), (2, 'green')", "deals: colorName of 2 is 'green', not 'blue'"),
    ],
)
def test_tables_must_have_each_record_once_with_its_values(tmp_path: Path, rows: str, problem: str | None) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.deals (id BIGINT, color_name VARCHAR)")
        connection.execute(f"INSERT INTO crm.deals VALUES {rows}")
    expected = {"deals": {"ids": ["1", "2"], "spots": [("2", "colorName", "blue")]}}
    assert problem_of(tmp_path / "warehouse.duckdb", expected) == problem


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("benchmarks.children", ["--parents", "40", "--latency", "0.001"], "With 50 a second: "),
        ("benchmarks.agilecrm", ["--contacts", "20", "--latency", "0.001"], "At 50 a second: "),
        ("benchmarks.growth", ["--contacts", "200", "--rows", "2000", "--accounts", "2"], "| 2 accounts of "),
    ],
)
def test_a_benchmark_runs(module: str, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(said)


@pytest.mark.thorough
def test_the_bench_measures_the_floor_and_ours_with_all_records_landed() -> None:
    command = [sys.executable, "-m", "benchmarks.bench", "--peers", "floor,ours", "--rounds", "1", "--records", "400"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = [line.replace("*", "") for line in done.stdout.splitlines()]
    for title in ("floor by hand", "`dagster asset materialize`, ours"):
        measured = r"( \| \d+\.\d s){5} \| \d+ MB( \(\d\))? \| \d+ MB \| \d+ MB \|$"
        assert any(re.match(rf"\| {title}.*{measured}", row) for row in rows), done.stdout
