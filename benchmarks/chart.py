"""The figures as a chart: SVG, written by hand, readable on light and on dark pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.figures import LATENCIES, Figures, memory, named, sound
from benchmarks.peers import PEERS

WIDTH, LEFT, ROW, BAR = 880, 262, 40, 13
PANELS = ((LEFT, 330), (LEFT + 400, 130))
"""Where the bars of each panel begin, and how long its longest one is."""
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .muted { fill: #59636e; font-size: 12px; }
  .page { fill: #ffffff; }
  .zero, .memory { fill: #8c959f; } .slow { fill: #c4cad1; }
  .ours.zero, .ours.memory { fill: #0969da; } .ours.slow { fill: #80b3f0; }
  .ours { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .muted { fill: #9198a1; }
    .page { fill: #0d1117; }
    .zero, .memory { fill: #7d8590; } .slow { fill: #444c56; }
    .ours.zero, .ours.memory { fill: #4493f8; } .ours.slow { fill: #1f4f8f; }
  }"""


@dataclass(frozen=True)
class Row:
    """One line of a chart.

    Attributes:
        title: what is said before it.
        is_ours: whether it stands out.
        values: of the first panel, a bar each.
        memory: peak memory in megabytes, the second panel.
    """

    title: str
    is_ours: bool
    values: Sequence[float]
    memory: float


def chart(figures: Figures) -> str:
    """Return the seconds at each latency and the peak memory of each peer, in fresh files, the slowest at the end."""
    there = sound(figures)
    peers = [name for name in PEERS if all((name, latency, False) in there for latency in LATENCIES) and name != "wire"]
    peers.sort(key=lambda name: there[name, LATENCIES[-1], False].seconds)
    rows = [
        Row(
            PEERS[name].title.replace("`", "").partition(" (")[0],
            name in ("ours", "sync"),
            [there[name, latency, False].seconds for latency in LATENCIES],
            (memory(figures, name) or 0) / 1e6,
        )
        for name in peers
    ]
    above, below = map(named, LATENCIES)
    return drawn(f"Whole process: above at {above} of latency, below at {below}", rows, lambda value: f"{value:.1f} s")


def drawn(head: str, rows: Sequence[Row], said: Callable[[float], str]) -> str:
    """Return a chart of `rows`.

    Args:
        head: what the first panel shows.
        rows: from top to bottom.
        said: what a value of the first panel reads like.
    """
    height = 64 + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{head}">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="muted" x="{PANELS[0][0]}" y="28">{head}</text>',
        f'<text class="muted" x="{PANELS[1][0]}" y="28">Peak memory</text>',
    ]
    longest = max(max(row.values) for row in rows)
    largest = max(row.memory for row in rows)
    for number, row in enumerate(rows):
        top, title = 44 + ROW * number, escape(row.title)
        own = " ours" if row.is_ours else ""
        parts.append(f'<text class="{own.strip()}" x="{LEFT - 12}" y="{top + 19}" text-anchor="end">{title}</text>')
        middle = top if len(row.values) > 1 else top + 7
        parts += _bars(PANELS[0], middle, own, ("zero", "slow"), row.values, longest, said)
        parts += _bars(PANELS[1], top + 7, own, ("memory",), [row.memory], largest, lambda value: f"{value:.0f} MB")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(
    panel: tuple[int, int],
    top: int,
    own: str,
    kinds: Sequence[str],
    values: Sequence[float],
    most: float,
    said: Callable[[float], str],
) -> list[str]:
    left, longest = panel
    parts = []
    for number, (kind, value) in enumerate(zip(kinds, values, strict=False)):
        width, y = max(1.0, longest * value / most), top + number * (BAR + 2)
        parts += [
            f'<rect class="{kind}{own}" x="{left}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="muted" x="{left + width + 6:.1f}" y="{y + BAR - 2}">{said(value)}</text>',
        ]
    return parts
