"""The figures as Markdown: for the terminal, and for RESULTS.md."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.figures import LATENCIES, Figure, Figures, Goal, goals_of, memory, named
from benchmarks.peers import PEERS

MEGA = 1e6
STAGES = {
    "pausing": "keeping to a limit, waiting for a retry",
    "waiting": "waiting for the network",
    "parsing": "parsing JSON",
    "converting": "making columns of records",
    "spooling": "writing them to disk",
    "extract": "dlt's extract",
    "normalize": "dlt's normalize",
    "load": "dlt's load",
}
"""The stages of `stage_seconds` in words."""


def machine() -> str:
    """Return what the measurements ran on: processors, memory, system, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory_total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return (
        f"{os.cpu_count()} processors ({model}), {memory_total:.0f} GiB, {system}, Python {platform.python_version()}"
    )


def tables(figures: Figures, left_out: Mapping[str, str]) -> str:
    """Return the table of the figures, that of the ratios, and the goals.

    Args:
        figures: what was found.
        left_out: why a peer could not be measured, by name.
    """
    peers = [peer for peer in PEERS if peer in left_out or any(peer == one for one, *_ in figures)]
    parts = [_figures_table(figures, left_out, peers), _ratios_table(figures, peers), _goals_table(goals_of(figures))]
    return "\n\n".join(part for part in parts if part)


def results(figures: Figures, left_out: Mapping[str, str], work: str, rounds: int, load: float) -> str:
    """Return RESULTS.md.

    Args:
        figures: what was found.
        left_out: why a peer could not be measured, by name.
        work: what each peer did, in one sentence.
        rounds: how many runs each figure is the median of.
        load: load average of the machine before the first run.
    """
    measured = [PEERS[name] for name in PEERS if name in {peer for peer, *_ in figures}]
    ours = [(latency, figures.get(("ours", latency, False))) for latency in LATENCIES]
    lines = [
        "# Results of `make bench`",
        "",
        f"{work} Merged on `id` into a fresh DuckDB file, and again on unchanged data. Each peer is a process of its "
        f"own in an environment of its own, in turn within each of {rounds} rounds, against one server that holds all "
        "pages as bytes and answers after 0 or 20 ms. Medians. After every run, the tables must have every record.",
        "",
        f"Machine: {machine()}; load average {load:.1f} before the first run.",
        "",
        "![Seconds and memory of each peer](../docs/images/benchmark.svg)",
        "",
        tables(figures, left_out),
        "",
        "- Seconds and CPU seconds (user and system, of all its processes) are of the whole process, with its start "
        "and its imports.",
        "- Peak memory is the largest of all its runs: of the largest process, as the kernel says, or, with a number "
        "in brackets, of so many processes together that were alive at once. Memory that they share counts for each.",
        "- CPU seconds and the sizes of the database are those at 0 ms.",
        "",
        "## What each lacks beside ours",
        "",
        *(f"- **{peer.title}**: {peer.lacks}." for peer in measured if peer.lacks),
        *(
            f"- **ours**: {figure.checks} results of checks recorded in Dagster with each run."
            for latency, figure in ours
            if figure and not latency
        ),
        "",
        "## Where the time of ours goes",
        "",
        _rows(
            ["", *(named(latency) for latency, _ in ours)],
            [
                ["whole process", *(_seconds(figure) for _, figure in ours)],
                ["start of the run to the last table landed", *(_landed(figure) for _, figure in ours)],
                *(
                    [f"- {text}", *(_stage(figure, stage) for _, figure in ours)]
                    for stage, text in STAGES.items()
                    if any(figure and stage in figure.stages for _, figure in ours)
                ),
                ["checks and Dagster's bookkeeping", *(_bookkeeping(figure) for _, figure in ours)],
            ],
        ),
        "",
        "Bookkeeping is the time from the first event of the run to the start of its first step, and from the last "
        "table landed to the end of the process. What is in neither of the two is the start: Python, imports, and "
        "Dagster's history being opened. The stages of reading are of eleven threads together, in which each also "
        "waits for the others; what is not listed between reading and landing is the comparison with the tables.",
        "",
        "`python -m benchmarks.growth` measures a million contacts, and how the cost grows.",
        "",
        "## Versions",
        "",
        *(f"- {peer.name}: {_versions(peer.versions())}" for peer in measured if peer.packages),
    ]
    return "\n".join(lines) + "\n"


def _figures_table(figures: Figures, left_out: Mapping[str, str], peers: Sequence[str]) -> str:
    head = ["", *(f"{again}{named(latency)}" for again in ("", "again, ") for latency in LATENCIES)]
    rows = []
    for peer in peers:
        if peer in left_out:
            rows.append([PEERS[peer].title, f"not installed: {left_out[peer]}", *[""] * 7])
            continue
        kinds = [(latency, again) for again in (False, True) for latency in LATENCIES]
        cells = [_seconds(figures.get((peer, *kind))) for kind in kinds]
        first, second = figures.get((peer, 0.0, False)), figures.get((peer, 0.0, True))
        cpu = f"{first.cpu:.1f} s" if first and not first.problem else ""
        rows.append([PEERS[peer].title, *cells, cpu, _memory(figures, peer), _size(first), _size(second)])
    return _rows([*head, "CPU", "peak memory", "database", "database, again"], rows, bold="ours")


def _ratios_table(figures: Figures, peers: Sequence[str]) -> str:
    rows = []
    for peer in peers:
        if peer in ("wire", "ours"):
            continue
        cells = []
        for again in (False, True):
            for latency in LATENCIES:
                mine, other = (figures.get((name, latency, again)) for name in ("ours", peer))
                sound = mine and other and not mine.problem and not other.problem
                cells.append(f"{mine.seconds / other.seconds:.2f}" if sound and mine and other else "")
        own, its = memory(figures, "ours"), memory(figures, peer)
        rows.append([PEERS[peer].title, *cells, f"{own / its:.2f}" if own and its else ""])
    if "ours" not in peers or not rows:
        return ""
    head = [f"{again}{named(latency)}" for again in ("", "again, ") for latency in LATENCIES]
    return _rows(["ours over", *head, "peak memory"], rows)


def _goals_table(goals: Iterable[Goal]) -> str:
    rows = [
        [goal.text, f"at most {goal.limit:g}", "" if goal.found is None else f"{goal.found:.2f}", goal.verdict]
        for goal in goals
    ]
    return _rows(["goal", "", "found", ""], rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]], bold: str | None = None) -> str:
    """Return a table of Markdown; the rows of those whose name is `bold` stand out."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    shown = []
    for line in lines:
        stands_out = bold and line[0] == PEERS[bold].title
        shown.append("| " + " | ".join(f"**{cell}**" if stands_out and cell else cell for cell in line) + " |")
    return "\n".join(shown)


def _seconds(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return figure.problem or f"{figure.seconds:.1f} s"


def _landed(figure: Figure | None) -> str:
    return f"{figure.landed:.1f} s" if figure and figure.landed is not None else ""


def _stage(figure: Figure | None, stage: str) -> str:
    return f"{figure.stages[stage]:.1f} s" if figure and stage in figure.stages else ""


def _bookkeeping(figure: Figure | None) -> str:
    if figure is None or figure.bookkeeping is None:
        return ""
    return f"{figure.bookkeeping * figure.seconds:.1f} s ({figure.bookkeeping:.0%})"


def _memory(figures: Figures, peer: str) -> str:
    most = memory(figures, peer)
    if most is None:
        return ""
    processes = max(figure.processes for kind, figure in figures.items() if kind[0] == peer and figure.memory == most)
    return f"{most / MEGA:.0f} MB" + (f" ({processes})" if processes > 1 else "")


def _size(figure: Figure | None) -> str:
    return f"{figure.size / MEGA:.0f} MB" if figure and figure.size and not figure.problem else ""


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
