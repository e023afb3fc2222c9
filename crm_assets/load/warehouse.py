"""The warehouse of an account, open for one run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt.common.destination import Destination
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.account import Account
from crm_assets.extract.fetch import Fetched, Listings
from crm_assets.load.load import Loaded, load, open_pipeline
from crm_assets.load.preflight import preflight
from crm_assets.load.warehouses.destination import exclusive, open_destination


@dataclass(frozen=True)
class OpenWarehouse:
    """What one run does with its warehouse while nobody else writes there."""

    account: Account
    destination: Destination[Any, Any]
    directory: Path
    """Where dlt keeps its files."""
    log: Callable[[str], None]
    """Told what was repaired."""
    allow_deletes: bool = False

    @contextmanager
    def sql(self) -> Iterator[SqlClientBase[Any]]:
        """Yield a connection for SQL."""
        with open_pipeline(self.account, self.destination, self.directory / "sql").sql_client() as client:
            yield client

    def refuse_conflicts(self, listings: Listings) -> Listings:
        """Return `listings` with those among the failed whose tables cannot take them, and repair what is dlt's own."""
        spooled = [one.spooled for one in listings.complete]
        refused = preflight(self.account, self.destination, self.directory / "sql", spooled, self.log)
        for one in listings.complete:
            if one.resource in refused:
                one.checkpoints.clear()
        complete = [one for one in listings.complete if one.resource not in refused]
        return Listings(complete, {**listings.failed, **refused})

    def load(self, fetched: list[Fetched]) -> Loaded:
        """Load complete listings; see `load.load`."""
        return load(self.account, self.destination, fetched, self.directory, allow_deletes=self.allow_deletes)


@contextmanager
def open_warehouse(
    account: Account, directory: Path, log: Callable[[str], None], *, allow_deletes: bool = False
) -> Iterator[OpenWarehouse]:
    """Open the warehouse of `account` for writing; a DuckDB file stays ours until the end.

    Args:
        account: whose warehouse it is.
        directory: where dlt keeps its files meanwhile.
        log: told once if another process has the DuckDB file.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.

    Raises:
        WarehouseLocked: another process kept the DuckDB file open for too long.
        WarehouseError: the DuckDB file cannot be opened.
        SettingError: the destination is not known, or its driver is missing.
    """
    settings = account.warehouse
    destination = open_destination(settings.destination, account.data_dir)
    with exclusive(destination, memory_limit=settings.memory_limit, lock_timeout=settings.lock_timeout, log=log):
        yield OpenWarehouse(account, destination, directory, log, allow_deletes)
