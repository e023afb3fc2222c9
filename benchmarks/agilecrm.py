"""How long the notes and documents of many contacts take, against so many requests of so much latency at once.

    python -m benchmarks.agilecrm [--contacts 2000] [--latency 0.02] [--per-second 50] [--busy 0.05]

The sandbox answers, in a process of its own, which also says how many requests a second had at the most. In the last
part, a share of the contacts answers once that there are too many requests.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from crm_assets.account import resolve_account
from crm_assets.apis.references import Reference
from crm_assets.extract.connection import CONCURRENCY, Connection
from crm_assets.extract.fetch import fetch
from crm_assets.extract.progress import ProgressListener
from crm_assets.extract.rate_limit import RateLimit
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import API_KEY, EMAIL, Sandbox

NOBODY = ProgressListener(lambda _: None, lambda _: None)
RESOURCES = ("contacts", "notes", "documents")


def serve(channel: Channel, contacts: int, latency: float) -> None:
    """Run a sandbox, and answer what is asked over the channel: when requests came, or to arm faults."""
    counts = {"contacts": contacts, "deals": 1, "notes": contacts, "documents": contacts}
    with Sandbox(counts, latency=latency, api="agilecrm") as sandbox:
        channel.send(sandbox.base_url)
        while (asked := channel.recv()) is not None:
            if asked == "times":
                channel.send([seen.arrived for seen in sandbox.log])
            elif asked == "records":
                channel.send({name: sum(1 for _ in sandbox.reachable(name)) for name in RESOURCES})
            else:
                parents = [str(record["id"]) for record in sandbox.crm.records("contacts")][:: int(1 / asked)]
                for parent in parents:
                    sandbox.fault(Fault("notes", "status", status=429, retry_after="2", times=1, parent=parent))
                channel.send(len(parents))


@contextmanager
def served(contacts: int, latency: float) -> Iterator[tuple[str, Channel]]:
    """Yield the address of a sandbox in a process of its own, and the channel to it."""
    ours, theirs = Pipe()
    process = Process(target=serve, args=(theirs, contacts, latency))
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send(None)
        process.join()


@dataclass(frozen=True)
class Figures:
    """What it took to read the contacts with their notes and documents, and how many there were of each."""

    seconds: float
    requests: int
    retries: int
    rows: dict[str, int]


def read(url: str, per_second: float | None) -> Figures:
    """Read the contacts with their notes and documents."""
    with TemporaryDirectory() as folder:
        account = resolve_account(api="agilecrm", base_url=url, data_dir=folder)
        login = {Reference("dlt.secrets", "email"): EMAIL, Reference("dlt.secrets", "api_key"): API_KEY}
        client = account.api.client
        connection = Connection(url, login, client["auth"], client["headers"], rate_limit=RateLimit(per_second))
        started = monotonic()
        listings = fetch(account, account.select(RESOURCES), connection, Path(folder), NOBODY)
        spent = monotonic() - started
        assert not listings.failed, listings.failed
        return Figures(
            spent,
            sum(one.traffic.requests for one in listings.complete),
            sum(one.traffic.retries for one in listings.complete),
            {one.resource: one.spooled.newest().rows for one in listings.complete},
        )


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=2_000)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--per-second", type=float, default=50.0)
    parser.add_argument("--busy", type=float, default=0.05)
    given = parser.parse_args()
    with served(given.contacts, given.latency) as (url, channel):
        found = read(url, None)
        least = found.requests * given.latency / CONCURRENCY
        print(f"{found.requests:,} requests: {found.seconds:.2f} s, ratio {found.seconds / least:.2f} of {least:.2f} s")
        channel.send("records")
        there = channel.recv()
        channel.send(given.busy)
        busy = channel.recv()
        found = read(url, None)
        lost = {name: there[name] - rows for name, rows in found.rows.items()}
        print(f"{busy} contacts too busy once: {found.seconds:.2f} s, {found.retries} retries, rows lost: {lost}")
    with served(given.contacts, given.latency) as (url, channel):
        found = read(url, given.per_second)
        channel.send("times")
        times = sorted(channel.recv())
        following = [times[place : place + 10 * int(given.per_second)] for place in range(len(times))]
        most = max(sum(one < ones[0] + 1 for one in ones) for ones in following)
        print(f"At {given.per_second:g} a second: {found.seconds:.2f} s, {most} in any second at the most")


if __name__ == "__main__":
    main()
