"""How the cost grows: ten times the records, and again; 1 % of a very large table; many accounts in one process.

    python -m benchmarks.growth [--contacts 10000,100000,1000000] [--rows 5000000] [--accounts 11]

Prints a table of each. A count of 0 leaves its table out.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.large import API, large_listing
from benchmarks.peers import PEERS
from benchmarks.run import Sample, run
from benchmarks.server import served
from benchmarks.work import COUNTS, RECORDS, counts_of

ONE_PERCENT = 100


@contextmanager
def folder_of(work: Path, name: str) -> Iterator[Path]:
    """Yield a new folder for the runs of one peer; what has landed is not looked up there, only that a run succeeds."""
    (work / "expected.json").write_text("{}")
    folder = work / name
    folder.mkdir()
    yield folder


def row(what: str, records: int, sample: Sample) -> str:
    """Return a row of Markdown."""
    if sample.problem:
        return f"| {what} | {sample.problem} | | | | |"
    return (
        f"| {what} | {sample.seconds:.1f} s | {sample.cpu:.1f} s | {records / sample.seconds:,.0f} |"
        f" {sample.memory / 1e6:.0f} MB | {sample.size / 1e6:.0f} MB |"
    )


def contacts(counts: Sequence[int]) -> Iterator[str]:
    """Yield what the floor and ours take for each count of contacts, and the other resources in their proportion."""
    for count in counts:
        with TemporaryDirectory() as name, served(Path(name), count * RECORDS // COUNTS["contacts"], [0.0]) as api:
            work = Path(name)
            records = sum(counts_of(count * RECORDS // COUNTS["contacts"]).values())
            for peer, times in (("floor", (False,)), ("ours", (False, True))):
                with folder_of(work, peer) as folder:
                    for again in times:
                        sample = run(PEERS[peer], folder, api.urls[0], work, 0.0, again=again)
                        yield row(f"{count:,} contacts, {peer}{', again' if again else ''}", records, sample)


def one_percent(rows: int) -> Iterator[str]:
    """Yield what it takes to load a table of so many rows, to load it again when 1 % has changed, and unchanged."""
    with TemporaryDirectory() as name, folder_of(Path(name), "sync") as folder:
        (folder / "large.yaml").write_text(API)
        peer = replace(PEERS["sync"], environment={**PEERS["sync"].environment, "SOURCES__CRM__API": "large.yaml"})
        for what, changed in (("the first time", 0), ("1 % changed", ONE_PERCENT), ("nothing changed", ONE_PERCENT)):
            with large_listing(rows, changed) as url:
                mine = replace(peer, environment={**peer.environment, "PYTHONPATH": "{here}/../.."})
                yield row(f"{rows:,} rows, {what}", rows, run(mine, folder, url, Path(name), 0.0, again=bool(changed)))


def accounts(count: int) -> Iterator[str]:
    """Yield what a sync of one account takes, and of `count` accounts in one process."""
    for number in (1, count):
        with TemporaryDirectory() as name, served(Path(name), RECORDS // 10, [0.0]) as api:
            with folder_of(Path(name), "sync") as folder:
                mine = replace(PEERS["sync"], environment=_of_accounts(number, PEERS["sync"].environment))
                sample = run(mine, folder, api.urls[0], Path(name), 0.0, again=False)
            records = sum(counts_of(RECORDS // 10).values()) * number
            yield row(f"{number} account{'s' * (number > 1)} of {records // number:,} records", records, sample)


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


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--accounts", type=int, default=11)
    given = parser.parse_args()
    print("| | whole process | CPU | records a second | peak memory | database |\n|---|---:|---:|---:|---:|---:|")
    for line in contacts(given.contacts):
        print(line, flush=True)
    for line in one_percent(given.rows) if given.rows else ():
        print(line, flush=True)
    for line in accounts(given.accounts) if given.accounts else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
