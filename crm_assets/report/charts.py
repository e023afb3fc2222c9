"""Small line charts, drawn as SVG by the template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 56
_MARGIN = 5


@dataclass(frozen=True)
class Chart:
    """A line chart: where its points lie in a picture of WIDTH by HEIGHT, and what they stand for, the oldest first."""

    points: Sequence[tuple[float, float]]
    labels: Sequence[str]
    lowest: str
    highest: str
    width: int = WIDTH
    height: int = HEIGHT

    @classmethod
    def of(cls, values: Sequence[float], label: Callable[[float], str]) -> "Chart | None":
        """Return the chart of `values`, told by `label`; None for fewer than two, which are no trend."""
        if len(values) < 2:
            return None
        low, high = min(values), max(values)
        step = (WIDTH - 2 * _MARGIN) / (len(values) - 1)
        rise = (HEIGHT - 2 * _MARGIN) / ((high - low) or 1)
        base = HEIGHT - _MARGIN if high > low else HEIGHT / 2  # a line without ups and downs lies in the middle
        points = [
            (round(_MARGIN + index * step, 1), round(base - (value - low) * rise, 1))
            for index, value in enumerate(values)
        ]
        return cls(points, list(map(label, values)), label(low), label(high))

    @property
    def line(self) -> str:
        """The points as a polyline has them."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)
