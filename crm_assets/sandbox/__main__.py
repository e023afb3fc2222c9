"""`python -m crm_assets.sandbox`: a CRM on loopback until Ctrl-C."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from crm_assets.sandbox.faults import KINDS
from crm_assets.sandbox.server import API_KEY, DEFAULT_SEED, EMAIL
from crm_assets.sandbox.service import serve

__all__ = ["main", "serve"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a sandbox as the command line says."""
    try:
        serve(**vars(_parser().parse_args(arguments)))
    except (OSError, ValueError) as error:
        sys.exit(f"sandbox: {getattr(error, 'strerror', None) or error}")


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m crm_assets.sandbox", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="where to listen on 127.0.0.1; any free port by default")
    add("--seed", type=int, default=DEFAULT_SEED, help="two sandboxes with one seed hold the same records")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="wait before each listing")
    add(
        "--count",
        dest="counts",
        action="append",
        default=[],
        metavar="RESOURCE=N",
        help="how many records, e.g. contacts=1000000; may be repeated",
    )
    add(
        "--fault",
        dest="faults",
        action="append",
        default=[],
        metavar="RESOURCE=KIND[xTIMES][@AFTER]",
        help=f"what goes wrong, e.g. tickets=503x2; kinds: {', '.join(KINDS)}; may be repeated",
    )
    add("--email", default=EMAIL, help="username of the login")
    add("--api-key", default=API_KEY, help="password of the login")
    add("--with-parent", action="store_true", help="end when stdin ends")
    return parser


if __name__ == "__main__":
    main()
