"""How long the children of many parents take, against so many requests of so much latency at once.

    python -m benchmarks.children [--parents 2000] [--latency 0.02] [--per-second 50]

The shop of the tests answers, in a process of its own. Its log says how many requests a second had at the most.
"""

import json
import urllib.request
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import yaml

from crm_assets.account import resolve_account
from crm_assets.apis.references import Reference
from crm_assets.extract.connection import Connection
from crm_assets.extract.fetch import fetch
from crm_assets.extract.progress import ProgressListener
from crm_assets.extract.rate_limit import RateLimit
from crm_assets_tests.shop import CONFIG, TOKEN, shop_process

NOBODY = ProgressListener(lambda _: None, lambda _: None)


def read(url: str, per_second: float | None) -> float:
    """Read the stores of the shop and the stock of each; return the seconds."""
    with TemporaryDirectory() as folder:
        account = resolve_account("shop", api=yaml.safe_load(CONFIG.read_text()), base_url=url, data_dir=folder)
        login = {Reference("dlt.secrets", "token"): TOKEN}
        connection = Connection(url, login, account.api.client["auth"], rate_limit=RateLimit(per_second))
        started = monotonic()
        listings = fetch(account, account.select(["stores", "stock"]), connection, Path(folder), NOBODY)
        spent = monotonic() - started
    assert not listings.failed, listings.failed
    return spent


def times(url: str) -> list[float]:
    """Return when each request came, and forget them."""
    address = f"{url}/control/log"
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - loopback
        found = json.load(answer)
    with urllib.request.urlopen(urllib.request.Request(address, method="DELETE")):  # noqa: S310
        return sorted(one["at"] if isinstance(one, dict) else one for one in found)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--parents", type=int, default=2_000)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--per-second", type=float, default=50.0)
    given = parser.parse_args()
    arguments = [f"--count=stores={given.parents}", "--count=stock=1", f"--latency={given.latency}"]
    with shop_process(*arguments) as url:
        spent = read(url, None)
        requests = len(times(url))
        least = requests * given.latency / Connection(url).concurrency
        print(f"{requests:,} requests: {spent:.2f} s, ratio {spent / least:.2f} of {least:.2f} s")
        spent = read(url, given.per_second)
        came = times(url)
        most = max(sum(start <= one < start + 1 for one in came[place:]) for place, start in enumerate(came))
        print(f"With {given.per_second:g} a second: {spent:.2f} s, {most} in any second at the most.")


if __name__ == "__main__":
    main()
