"""From samples to figures: medians, ratios, and whether the goals hold. Nothing here measures anything."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.run import Sample

LATENCIES: Final = (0.0, 0.02)
"""Seconds that each response takes at least."""
NOT_PEERS: Final = ("wire", "floor", "ours", "sync")
"""Those that nobody would use instead of the project."""


@dataclass(frozen=True)
class Figure:
    """The medians of the runs of one peer at one latency, fresh or again.

    Attributes:
        seconds: of the whole process.
        cpu: CPU seconds.
        memory: the largest peak of all runs, in bytes.
        processes: how many processes had it together.
        size: of the database, in bytes.
        landed: seconds from the start of the run to the last table landed; of ours.
        bookkeeping: share of checks and Dagster's bookkeeping in `seconds`; of ours.
        checks: how many results of checks a run recorded; of ours.
        stages: seconds of each stage of a run; of ours.
        problem: why there is no figure, if a run failed or lost records.
    """

    seconds: float
    cpu: float
    memory: int
    processes: int
    size: float
    landed: float | None = None
    bookkeeping: float | None = None
    checks: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None


Figures = Mapping[tuple[str, float, bool], Figure]
"""By peer, latency, and whether it is the run again on unchanged data."""


def figures_of(samples: Iterable[Sample]) -> Figures:
    """Return the medians of the samples of each kind."""
    kinds: dict[tuple[str, float, bool], list[Sample]] = {}
    for sample in samples:
        kinds.setdefault((sample.peer, sample.latency, sample.again), []).append(sample)
    return {kind: _figure(alike) for kind, alike in kinds.items()}


def _figure(samples: list[Sample]) -> Figure:
    largest = max(samples, key=lambda sample: sample.memory)
    timed = [(sample.timeline, sample.seconds) for sample in samples if sample.timeline]
    times = [timeline for timeline, _ in timed]
    return Figure(
        seconds=median(sample.seconds for sample in samples),
        cpu=median(sample.cpu for sample in samples),
        memory=largest.memory,
        processes=largest.processes,
        size=median(sample.size for sample in samples),
        landed=median(timeline.landed for timeline in times) if times else None,
        bookkeeping=median(timeline.bookkeeping / seconds for timeline, seconds in timed) if timed else None,
        checks=min((timeline.checks for timeline in times), default=0),
        stages={
            stage: median(timeline.stages.get(stage, 0.0) for timeline in times)
            for stage in dict.fromkeys(stage for timeline in times for stage in timeline.stages)
        },
        problem=next((sample.problem for sample in samples if sample.problem), None),
    )


@dataclass(frozen=True)
class Goal:
    """One goal: `found` is to be at most `limit`. `found` is None if what it compares was not measured."""

    text: str
    limit: float
    found: float | None

    @property
    def verdict(self) -> str:
        """What to say about it."""
        if self.found is None:
            return "not measured"
        return "holds" if self.found <= self.limit else "does not hold"


def goals_of(figures: Figures) -> list[Goal]:
    """Return the goals with what was found."""
    mine = memory(figures, "ours")
    return [
        *_speed(figures, "against Dagster with dlt", ["dagster-dlt"], (0.6, 0.5)),
        *_speed(figures, "against the fastest peer", _peers(figures), (0.85, 0.6)),
        *(
            Goal(
                f"start of the run to the last table landed, against the floor's whole time, {named(latency)}",
                limit,
                _over(_of(figures, "ours", "landed", latency), _of(figures, "floor", "seconds", latency)),
            )
            for latency, limit in zip(LATENCIES, (2.0, 1.15), strict=True)
        ),
        Goal("peak memory, against the smallest peer", 1.0, _over(mine, _least(_memory_of_peers(figures)))),
        Goal("peak memory, against the floor", 1.6, _over(mine, memory(figures, "floor"))),
        *(
            Goal(f"again on unchanged data, {words} against the first time, {named(latency)}", limit, ratio)
            for words, limit, what in (("seconds", 1.0, "seconds"), ("database", 1.3, "size"))
            for latency in LATENCIES
            for ratio in [_over(_of(figures, "ours", what, latency, True), _of(figures, "ours", what, latency))]
        ),
        *(
            Goal(
                f"share of checks and Dagster's bookkeeping in the whole process, {named(latency)}",
                0.25,
                _of(figures, "ours", "bookkeeping", latency),
            )
            for latency in LATENCIES
        ),
    ]


def sound(figures: Figures) -> Figures:
    """Return the figures of those that landed everything each time."""
    return {kind: figure for kind, figure in figures.items() if not figure.problem}


def memory(figures: Figures, peer: str) -> float | None:
    """Return the largest peak of memory of a peer's runs, in bytes."""
    return max((figure.memory for kind, figure in sound(figures).items() if kind[0] == peer), default=None)


def named(latency: float) -> str:
    """Return a latency in words."""
    return f"{latency * 1000:.0f} ms"


def _speed(figures: Figures, text: str, peers: list[str], limits: tuple[float, ...]) -> Iterable[Goal]:
    for latency, limit in zip(LATENCIES, limits, strict=True):
        times = [(seconds, peer) for peer in peers if (seconds := _of(figures, peer, "seconds", latency))]
        fastest, name = min(times, default=(None, "none"))
        found = _over(_of(figures, "ours", "seconds", latency), fastest)
        yield Goal(f"whole process, {text} ({name}), {named(latency)}", limit, found)


def _peers(figures: Figures) -> list[str]:
    return sorted({peer for peer, *_ in figures} - set(NOT_PEERS))


def _memory_of_peers(figures: Figures) -> Iterable[float | None]:
    return (memory(figures, peer) for peer in _peers(figures))


def _of(figures: Figures, peer: str, what: str, latency: float, again: bool = False) -> float | None:
    """Return one field of a figure; None if there is no sound one."""
    figure = sound(figures).get((peer, latency, again))
    return getattr(figure, what) if figure else None


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other
