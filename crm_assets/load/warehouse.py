"""The warehouse of an account, open for one run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import dlt
from dlt.destinations.exceptions import DatabaseException, DestinationConnectionError
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.account import Account
from crm_assets.extract.fetch import Fetched, Listings
from crm_assets.load.load import Loaded, explained, load
from crm_assets.load.preflight import preflight
from crm_assets.load.resource_loads import ResourceLoad, read_loads
from crm_assets.load.warehouses.destination import duckdb_path, exclusive, open_destination


@dataclass(frozen=True)
class OpenWarehouse:
    """What one run does with its warehouse while nobody else writes there."""

    account: Account
    pipeline: dlt.Pipeline
    client: SqlJobClientBase
    """The one connection for all that dlt does not do itself."""
    log: Callable[[str], None]
    """Told what was repaired."""
    allow_deletes: bool = False

    @property
    def sql(self) -> SqlClientBase[Any]:
        """The connection, for SQL."""
        return self.client.sql_client

    def refuse_conflicts(self, listings: Listings) -> Listings:
        """Return `listings` with those among the failed whose tables cannot take them, and repair what is dlt's own."""
        refused = preflight(self.account, self.client, [one.spooled for one in listings.complete], self.log)
        for one in listings.complete:
            if one.resource in refused:
                one.checkpoints.clear()
        complete = [one for one in listings.complete if one.resource not in refused]
        return Listings(complete, {**listings.failed, **refused})

    def load(self, fetched: Sequence[Fetched]) -> Loaded:
        """Load complete listings; see `load.load`."""
        return load(self.account, self.pipeline, self.sql, fetched, allow_deletes=self.allow_deletes)


@contextmanager
def open_warehouse(
    account: Account, directory: Path, log: Callable[[str], None], *, allow_deletes: bool = False, wait: bool = True
) -> Iterator[OpenWarehouse]:
    """Open the warehouse of `account` for writing; a DuckDB file stays ours until the end.

    Args:
        account: whose warehouse it is.
        directory: where dlt keeps its files meanwhile. It must be new: what an earlier, broken load left in
            dlt's directory would be loaded first, and instead. State comes from the destination.
        log: told once if another process has the DuckDB file.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.
        wait: whether to wait for another process to close the DuckDB file, for `warehouse.lock_timeout`.

    Raises:
        WarehouseLocked: another process kept the DuckDB file open for too long.
        WarehouseError: the DuckDB file cannot be opened, or the warehouse does not answer.
        SettingError: the destination is not known, or its driver is missing.
    """
    settings = account.warehouse
    timeout = settings.lock_timeout if wait else 0.0
    destination = open_destination(settings.destination, account.data_dir)
    with (
        exclusive(
            destination,
            memory_limit=settings.memory_limit,
            lock_timeout=timeout,
            log=log,
            storage_version=settings.storage_version,
        ),
        ExitStack() as stack,
    ):
        pipeline = dlt.pipeline(
            account.name, destination=destination, dataset_name=account.dataset, pipelines_dir=str(directory / "dlt")
        )
        try:
            opening = cast(AbstractContextManager[SqlJobClientBase], pipeline.destination_client())
            client = stack.enter_context(opening)
        except (DatabaseException, DestinationConnectionError) as error:
            raise explained(error, account.dataset, nothing_changed=True) from error
        yield OpenWarehouse(account, pipeline, client, log, allow_deletes)


def recorded_loads(account: Account) -> dict[str, ResourceLoad]:
    """Return the last load of each resource, as the warehouse itself knows it; nothing if there is no warehouse yet.

    Raises:
        WarehouseLocked: another process has the DuckDB file open.
        WarehouseError: the warehouse does not answer.
        SettingError: the destination is not known, or its driver is missing.
    """
    file = duckdb_path(open_destination(account.warehouse.destination, account.data_dir))
    if file is not None and not file.exists():
        return {}
    with TemporaryDirectory() as directory, open_warehouse(account, Path(directory), _nobody, wait=False) as opened:
        return {name: loads[0] for name, loads in read_loads(opened.sql, 1).items()}


def _nobody(_: str) -> None:
    pass
