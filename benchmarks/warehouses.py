"""What the same load takes into each warehouse, the first time and again.

    python -m benchmarks.warehouses [--contacts 1000000]

The Postgres is one on loopback, with the settings it comes with but `fsync=off`. Its own processes are not measured.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.growth import HEAD, Measured, folder_of
from benchmarks.peers import PEERS
from benchmarks.run import run
from benchmarks.server import served
from benchmarks.work import RECORDS, counts_of
from crm_assets_tests.postgres import postgres_server

Place = tuple[Mapping[str, str], Callable[[], int]]
"""The settings of a warehouse, and what tells its size in bytes."""


@contextmanager
def duckdb(folder: Path) -> Iterator[Place]:
    yield {}, lambda: (folder / "warehouse.duckdb").stat().st_size


@contextmanager
def postgres(folder: Path) -> Iterator[Place]:
    with postgres_server() as server:
        address = server.database()
        settings = {"WAREHOUSE__DESTINATION": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": address}
        yield settings, lambda: int(server.execute("SELECT pg_database_size(current_database())", address)[0][0])


WAREHOUSES = {"DuckDB": duckdb, "Postgres": postgres}


def loads(contacts: int, titles: Sequence[str]) -> Iterator[Measured]:
    """Yield what each load takes into the warehouses `titles`."""
    records = sum(counts_of(RECORDS, contacts).values())
    with TemporaryDirectory() as name, served(Path(name), RECORDS, [0.0], contacts=contacts) as api:
        for title in titles:
            opened = WAREHOUSES[title]
            with folder_of(Path(name), title) as folder, opened(folder) as (settings, size):
                environment = {**PEERS["ours"].environment, **settings, "PYTHONPATH": "{here}/../.."}
                peer = replace(PEERS["ours"], environment=environment, lands=False)
                for again in (False, True):
                    sample = run(peer, folder, api.urls[0], Path(name), 0.0, again=again)
                    if not sample.problem:
                        sample = replace(sample, size=size())
                    yield Measured(f"{title}{', again' if again else ''}", records, sample)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--only", choices=WAREHOUSES)
    given = parser.parse_args()
    print(HEAD)
    measured = []
    for one in loads(given.contacts, [given.only] if given.only else list(WAREHOUSES)):
        print(one, flush=True)
        measured.append(one)
    if given.only:
        return
    first = {one.what: one.rate for one in measured}
    print(
        f"\nPostgres at {first['Postgres'] / first['DuckDB']:.2f} of DuckDB's rate, "
        f"again at {first['Postgres, again'] / first['DuckDB, again']:.2f}."
    )


if __name__ == "__main__":
    main()
