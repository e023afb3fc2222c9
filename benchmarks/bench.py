"""The project beside its peers: the same work, in turn, in one run.

    python -m benchmarks.bench [--peers floor,dlt] [--rounds 3] [--records 37500]

Installs what is missing. Only a run of all peers with all records writes RESULTS.md and the chart.
"""

import os
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from benchmarks.chart import chart
from benchmarks.figures import LATENCIES, figures_of, named
from benchmarks.landed import differences
from benchmarks.peers import PEERS, NotInstalled, Peer
from benchmarks.report import results, tables
from benchmarks.run import Sample, run
from benchmarks.server import Served, served
from benchmarks.work import COUNTS, RECORDS, counts_of
from crm_assets.project import ROOT

RESULTS: Final = ROOT / "benchmarks" / "RESULTS.md"
CHART: Final = ROOT / "docs" / "images" / "benchmark.svg"


def installed(peers: Iterable[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """Install the peers; return those that are, and why the others are not."""
    ready, left_out = [], {}
    for peer in peers:
        print(f"Installing {peer.name} ...", file=sys.stderr, flush=True)
        try:
            peer.install()
        except NotInstalled as error:
            left_out[peer.name] = str(error)
            print(f"{peer.name} is not installed: {error}", file=sys.stderr, flush=True)
        else:
            ready.append(peer)
    return ready, left_out


def measured(peers: Iterable[Peer], rounds: int, api: Served, work: Path) -> Iterator[Sample]:
    """Yield a sample for each peer in turn, fresh and again, at each latency, in each round."""
    for _ in range(rounds):
        for latency, url in zip(LATENCIES, api.urls, strict=True):
            yield from _in_turn(list(peers), latency, url, work)


def _in_turn(peers: list[Peer], latency: float, url: str, work: Path) -> Iterator[Sample]:
    folders = {peer.name: work / peer.name for peer in peers}
    for peer in peers:
        folder = folders[peer.name]
        folder.mkdir()
        for again in (False, True):
            sample = _compared(run(peer, folder, url, work, latency, again=again), folders, work)
            if sample.problem:
                print((folder / "log.txt").read_text(errors="replace")[-2000:], file=sys.stderr)
            yield sample
    for folder in folders.values():
        shutil.rmtree(folder)


def _compared(sample: Sample, folders: Mapping[str, Path], work: Path) -> Sample:
    """Return a sample of ours with a problem if its rows are not those of the floor."""
    floor = folders.get("floor", work) / "warehouse.duckdb"
    if sample.timeline is None or not floor.exists():
        return sample
    resources = orjson.loads((work / "api.json").read_bytes())
    count = differences(floor, folders[sample.peer] / "warehouse.duckdb", resources)
    return replace(sample, problem=f"{count} rows differ from those of the floor") if count else sample


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=RECORDS)
    given = parser.parse_args()
    names = [name for name in given.peers.split(",") if name] or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"unknown peers: {', '.join(unknown)}; known: {', '.join(PEERS)}")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"Warning: the machine is busy (load average {load:.1f}); the figures mean little.", file=sys.stderr)
    peers, left_out = installed(PEERS[name] for name in PEERS if name in names)
    samples = []
    with TemporaryDirectory() as folder, served(Path(folder), given.records, LATENCIES) as api:
        count = sum(counts_of(given.records).values())
        size = f"{api.bytes / 1e6:.0f} MB of JSON in {api.requests} requests"
        work = f"{len(COUNTS)} resources, {count:,} records, {size}."
        print(work)
        for sample in measured(peers, given.rounds, api, Path(folder)):
            samples.append(sample)
            kind = f"{named(sample.latency)}, {'again' if sample.again else 'fresh'}"
            said = sample.problem or f"{sample.seconds:6.2f} s  {sample.cpu:6.2f} CPU s  {sample.memory / 1e6:5.0f} MB"
            print(f"{sample.peer:12} {kind:14} {said}", flush=True)
    figures = figures_of(samples)
    print(f"\n{tables(figures, left_out)}")
    if names == list(PEERS) and given.records == RECORDS:
        RESULTS.write_text(results(figures, left_out, work, given.rounds, load))
        CHART.write_text(chart(figures))
        print(f"\nWritten: {RESULTS.relative_to(ROOT)}, {CHART.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
