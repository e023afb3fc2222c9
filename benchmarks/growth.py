"""How the cost grows: ten times the records, and again; 1 % of a very large table; many accounts in one process.

    python -m benchmarks.growth [--contacts 10000,100000,1000000] [--rows 5000000] [--accounts 11]

Prints what each took. A count of 0 leaves it out. With all of them, GROWTH.md and its chart are written.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chart import Row, drawn
from benchmarks.large import API, large_listing
from benchmarks.peers import PEERS
from benchmarks.report import machine
from benchmarks.run import Sample, run
from benchmarks.server import served
from benchmarks.work import COUNTS, RECORDS, counts_of
from crm_assets.project import ROOT

CONTACTS, ROWS, ACCOUNTS = [10_000, 100_000, 1_000_000], 5_000_000, 11
ONE_PERCENT = 100
HEAD = "| | whole process | CPU | records a second | peak memory | database |\n|---|---:|---:|---:|---:|---:|"
RESULTS = ROOT / "benchmarks" / "GROWTH.md"
CHART = ROOT / "docs" / "images" / "growth.svg"


@contextmanager
def folder_of(work: Path, name: str) -> Iterator[Path]:
    """Yield a new folder for the runs of one peer; what has landed is not looked up there, only that a run succeeds."""
    (work / "expected.json").write_text("{}")
    folder = work / name
    folder.mkdir()
    yield folder


@dataclass(frozen=True)
class Measured:
    """What was done, with how many records, and what it took."""

    what: str
    records: int
    sample: Sample

    @property
    def rate(self) -> float:
        """Records a second, over the whole process."""
        return self.records / self.sample.seconds

    def __str__(self) -> str:
        """A row of Markdown."""
        sample = self.sample
        if sample.problem:
            return f"| {self.what} | {sample.problem} | | | | |"
        return (
            f"| {self.what} | {sample.seconds:.1f} s | {sample.cpu:.1f} s | {self.rate:,.0f} |"
            f" {sample.memory / 1e6:.0f} MB | {sample.size / 1e6:.0f} MB |"
        )


def contacts(counts: Sequence[int]) -> Iterator[Measured]:
    """Yield what the floor and ours take for each count of contacts, the other resources being as they are."""
    for count in counts:
        with TemporaryDirectory() as name, served(Path(name), RECORDS, [0.0], contacts=count) as api:
            work = Path(name)
            records = sum(counts_of(RECORDS, count).values())
            for peer, times in (("floor", (False,)), ("ours", (False, True))):
                with folder_of(work, peer) as folder:
                    for again in times:
                        sample = run(PEERS[peer], folder, api.urls[0], work, 0.0, again=again)
                        yield Measured(f"{count:,} contacts, {peer}{', again' if again else ''}", records, sample)


def one_percent(rows: int) -> Iterator[Measured]:
    """Yield what it takes to load a table of so many rows, to load it again when 1 % has changed, and unchanged."""
    with TemporaryDirectory() as name, folder_of(Path(name), "sync") as folder:
        (folder / "large.yaml").write_text(API)
        peer = replace(PEERS["sync"], environment={**PEERS["sync"].environment, "SOURCES__CRM__API": "large.yaml"})
        for what, changed in (("the first time", 0), ("1 % changed", ONE_PERCENT), ("nothing changed", ONE_PERCENT)):
            with large_listing(rows, changed) as url:
                mine = replace(peer, environment={**peer.environment, "PYTHONPATH": "{here}/../.."})
                sample = run(mine, folder, url, Path(name), 0.0, again=bool(changed))
                yield Measured(f"{rows:,} rows, {what}", rows, sample)


def accounts(count: int) -> Iterator[Measured]:
    """Yield what a sync of one account takes, and of `count` accounts in one process."""
    for number in (1, count):
        with TemporaryDirectory() as name, served(Path(name), RECORDS // 10, [0.0]) as api:
            with folder_of(Path(name), "sync") as folder:
                mine = replace(PEERS["sync"], environment=_of_accounts(number, PEERS["sync"].environment))
                sample = run(mine, folder, api.urls[0], Path(name), 0.0, again=False)
            records = sum(counts_of(RECORDS // 10).values()) * number
            yield Measured(f"{number} account{'s' * (number > 1)} of {records // number:,} records", records, sample)


def _of_accounts(count: int, environment: Mapping[str, str]) -> dict[str, str]:
    names = [f"crm_{number}" for number in range(count)]
    settings = {"ACCOUNTS": ",".join(names), "PYTHONPATH": "{here}/../.."}
    for one in names:
        found = {"BASE_URL": "{url}", "EMAIL": "{email}", "API_KEY": "{api_key}", "API": "v1"}
        settings |= {f"SOURCES__{one.upper()}__{name}": value for name, value in found.items()}
    return {**environment, **settings}


def numbers(text: str) -> list[int]:
    """Return the numbers of a list such as `10000,100000`."""
    return [int(one) for one in text.split(",") if int(one)]


def results(measured: Sequence[Measured]) -> str:
    """Return GROWTH.md."""
    lines = [
        "# How the cost grows",
        "",
        f"{date.today():%d %B %Y}, on {machine()}. `python -m benchmarks.growth` writes this anew.",
        "",
        HEAD,
        *map(str, measured),
        "",
        f"Contacts stand beside {sum(COUNTS.values()) - COUNTS['contacts']:,} records of the ten other resources. The "
        "floor holds all records in memory, as one who writes it by hand would. The large table has five columns, and "
        "the second and third time read the same 50,000 changed records: what they cost is the listing.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=numbers, default=CONTACTS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    given = parser.parse_args()
    print(HEAD)
    measured = []
    for one in chain(
        contacts(given.contacts),
        one_percent(given.rows) if given.rows else (),
        accounts(given.accounts) if given.accounts else (),
    ):
        print(one, flush=True)
        measured.append(one)
    if (given.contacts, given.rows, given.accounts) == (CONTACTS, ROWS, ACCOUNTS):
        RESULTS.write_text(results(measured))
        shown = [one for one in measured if not one.sample.problem]
        rows = [Row(one.what, one.sample.peer != "floor", [one.rate], one.sample.memory / 1e6) for one in shown]
        CHART.write_text(drawn("Records a second, whole process", rows, lambda value: f"{value:,.0f}"))
        print(f"\nWritten: {RESULTS.relative_to(ROOT)}, {CHART.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
