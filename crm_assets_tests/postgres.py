"""A Postgres of the tests: one server for each process that runs them, a database for each test."""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2

from crm_assets_tests.programs import find_program, free_port, running

PASSWORD = quote("with spaces, and %:/@+", safe="")
SERVER_USER = "postgres"
"""Debian's user for the server, which refuses to be run by root."""
_NUMBERS = count(1)


class PostgresServer:
    """A Postgres on loopback that takes everybody for who they say they are.

    Attributes:
        address: of its database for administration.
    """

    def __init__(self, port: int) -> None:
        self.address = f"postgresql://{SERVER_USER}@127.0.0.1:{port}/postgres"

    def execute(self, sql: str, address: str = "") -> list[tuple[Any, ...]]:
        """Return the rows of `sql`, run by the owner of the server."""
        with closing(psycopg2.connect(address or self.address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []

    def database(self, password: str = PASSWORD) -> str:
        """Make a database with an owner of its own, who can do nothing else, and return the address for that owner."""
        name = f"crm_{os.getpid()}_{next(_NUMBERS)}"
        self.execute(f"CREATE ROLE {name} LOGIN")
        self.execute(f"CREATE DATABASE {name} OWNER {name}")
        parts = urlsplit(self.address)
        return parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}", path=f"/{name}").geturl()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a Postgres in a temporary folder while the block lasts; skips where there is none."""
    initdb, postgres = (find_program(name, "postgresql") for name in ("initdb", "postgres"))
    as_user: dict[str, Any] = {"user": SERVER_USER, "extra_groups": []} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="crm_postgres_"))
    try:
        if as_user:
            shutil.chown(home, SERVER_USER)
        data = str(home / "data")
        initialize = [initdb, "-D", data, "-U", SERVER_USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initialize, check=True, stdout=subprocess.DEVNULL, cwd=home, **as_user)
        port = free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (
            (home / "log").open("wb") as log,
            running([postgres, "-D", data, *settings], stderr=log, **as_user) as process,
        ):
            server = PostgresServer(port)
            _wait_for(server, process, home / "log")
            yield server
    finally:
        shutil.rmtree(home)


def _wait_for(server: PostgresServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while True:
        assert process.poll() is None, f"Postgres did not start: {log.read_text()}"
        try:
            server.execute("SELECT 1")
        except psycopg2.OperationalError as error:
            if "refused" not in str(error) and "starting up" not in str(error):
                raise
        else:
            return


@cache
def the_postgres() -> PostgresServer:
    """Return the Postgres of this process, which ends with it."""
    running_server = ExitStack()
    atexit.register(running_server.close)
    return running_server.enter_context(postgres_server())
