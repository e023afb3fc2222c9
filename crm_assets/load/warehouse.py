"""The warehouse of an account, open for one run."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import dlt
from dlt.common.destination import Destination
from dlt.destinations.exceptions import DatabaseException, DestinationConnectionError
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import CrmAssetsError, DiskError, ListingSuperseded, WarehouseError
from crm_assets.extract.fetch import Fetched, Listings
from crm_assets.extract.incremental import Start
from crm_assets.load.column_types import with_types
from crm_assets.load.dialect import in_our_dialect
from crm_assets.load.incremental import listing_starts
from crm_assets.load.load import Loaded, Loads, explained, load
from crm_assets.load.preflight import preflight
from crm_assets.load.resource_loads import ResourceLoad, read_loads
from crm_assets.load.staging import drop_staging_tables
from crm_assets.load.table_locks import lake_lock
from crm_assets.load.warehouses.destination import (
    duckdb_file,
    duckdb_path,
    exclusive,
    forget_deferred,
    lock_dataset,
    open_destination,
)
from crm_assets.load.warehouses.lake import find_lake
from crm_assets.load.warehouses.snapshot import replace_snapshot, snapshot_path
from crm_assets.load.warehouses.working_copy import FILE_NAME, WorkingCopy, copy_tables, tables_of


@dataclass(frozen=True)
class OpenWarehouse:
    """What one run does with its warehouse while nobody else writes there."""

    account: Account
    pipeline: dlt.Pipeline
    client: SqlJobClientBase
    """The one connection for all that dlt does not do itself."""
    log: Callable[[str], None]
    """Told what was repaired."""
    file: Path | None
    """The DuckDB file, which nobody else can open meanwhile; None for every other destination but a lake."""
    until_closed: ExitStack
    """Ends when the DuckDB file is closed."""
    allow_deletes: bool = False
    working_copy: WorkingCopy | None = None
    """What `file` has of a lake."""

    @property
    def sql(self) -> SqlClientBase[Any]:
        """The connection, for SQL."""
        return in_our_dialect(self.client.sql_client)

    def table_uri(self, table: str) -> str | None:
        """Return where `table` is: its DuckDB file, or its folder in the lake; None for every other destination."""
        if self.working_copy:
            return self.working_copy.lake.table_uri(table)
        return f"duckdb:///{self.file.absolute()}" if self.file else None

    def refuse_conflicts(self, listings: Listings) -> Listings:
        """Return `listings`, typed, with those among the failed whose tables cannot take them.

        What is dlt's own is repaired.

        Raises:
            WarehouseError: no table can be loaded, or the warehouse does not answer.
        """
        try:
            typed, refused = with_types(self.client, self.account.name, listings.complete)
        except (DatabaseException, DestinationConnectionError) as error:
            raise explained(error, self.account.dataset, nothing_changed=True) from error
        spooled = [one.spooled for one in typed]
        lake = self.working_copy.lake.address if self.working_copy else None
        refused |= preflight(
            self.account, self.client, spooled, self.log, is_exclusive=self.file is not None, lake=lake
        )
        refused |= self._superseded(typed)
        for one in typed:
            if one.resource in refused:
                one.checkpoints.clear()
        return Listings(typed, listings.failed).without(refused)

    def _superseded(self, fetched: Sequence[Fetched]) -> dict[str, CrmAssetsError]:
        """Return why resumed listings are not loaded: another machine has loaded their tables meanwhile."""
        resumed = {one.resource: one.started for one in fetched if one.resumed}
        loads = read_loads(self.sql, 1) if resumed else {}
        last = {name: max(load.loaded_at for load in loads[name]) for name in resumed if name in loads}
        return {
            name: ListingSuperseded(name, f"{resumed[name]:%H:%M}", f"{loaded_at:%H:%M}")
            for name, loaded_at in last.items()
            if loaded_at > resumed[name]
        }

    def listing_starts(self, resources: Sequence[Resource]) -> dict[str, Start]:
        """Return from where each of `resources` is listed; see `incremental.listing_starts`.

        Raises:
            WarehouseError: the warehouse does not answer.
        """
        try:
            return listing_starts(self.account, self.sql, resources)
        except DatabaseException as error:
            raise explained(error, self.account.dataset, nothing_changed=True) from error

    def load(self, fetched: Sequence[Fetched]) -> Loads:
        """Load complete listings; see `load.load`. Nothing of them stays in the staging dataset.

        They are loaded together. If that fails, each is loaded by itself, so that a table stops no other.

        Raises:
            WarehouseChanged: somebody else has written to a table of the lake meanwhile.
            WarehouseError: the warehouse refused the load of each.
            DiskError: a file could not be written.
        """
        try:
            loads = Loads([self._load(fetched, self.pipeline)])
        except DiskError:
            raise
        except Exception as error:
            loads = self._load_each(fetched, error)
        names = {name for loaded in loads.done for name in loaded.tables}
        if self.file:
            names |= {name for loaded in loads.done for name in loaded.schema.data_table_names()}
        try:
            drop_staging_tables(self.sql, names, is_exclusive=self.file is not None)
        except DatabaseException as error:
            self.log(f"Tables of {self.sql.staging_dataset_name} could not be dropped; the next load will: {error}")
        if self.working_copy:
            self.working_copy.publish(self.sql, self.log)
        return loads

    def _load(self, fetched: Sequence[Fetched], pipeline: dlt.Pipeline) -> Loaded:
        return load(self.account, pipeline, self.sql, fetched, allow_deletes=self.allow_deletes)

    def _load_each(self, fetched: Sequence[Fetched], error: Exception) -> Loads:
        cause = self._explained(error)
        if len(fetched) == 1:
            raise cause from error
        done: list[Loaded] = []
        failed = {one.resource: cause for one in fetched}
        self.log(f"{cause}\nLoading each table by itself.")
        for one in fetched:
            # In a new folder: dlt would go on with the load that is broken.
            pipeline = open_pipeline(
                self.account, self.pipeline.destination, Path(self.pipeline.pipelines_dir, one.resource)
            )
            forget_deferred(self.pipeline.destination)
            try:
                self.sql.execute_sql("SELECT 1")
            except Exception:  # of whatever kind: the warehouse is gone, for all that are left
                break
            try:
                done.append(self._load([one], pipeline))
                del failed[one.resource]
            except Exception as own:  # also what nobody foresaw is this table's alone
                found = self._explained(own)
                is_named = not isinstance(found, WarehouseError)
                failed[one.resource] = found if is_named else WarehouseError(f"{one.resource}: {found}")
        if not done:
            raise cause from error
        return Loads(done, failed)

    def _explained(self, error: Exception) -> CrmAssetsError:
        if isinstance(error, CrmAssetsError):
            return error
        return explained(error, self.account.dataset, nothing_changed=False)

    @contextmanager
    def checkpointing(self) -> Iterator[None]:
        """Write what DuckDB has in its log to its file while the block lasts: to close the file would do it, later."""
        if self.file is None or self.working_copy:
            yield
            return
        with ThreadPoolExecutor(1, "checkpoint") as thread:
            thread.submit(self.sql.native_connection.cursor().execute, "CHECKPOINT")  # what fails is tried at the end
            yield

    def replace_snapshot(self) -> None:
        """Make the copy for readers anew, if the settings ask for one.

        Raises:
            SettingError: there can be none where the settings say.
            WarehouseError, DiskError: it could not be made; the one before is as it was.
        """
        path = snapshot_path(self.account)
        if path is None or self.file is None:
            return
        try:
            self.sql.execute_sql("CHECKPOINT")
            # To close it gives up DuckDB's lock on the file, which belongs to the process (man 2 fcntl).
            source = self.until_closed.enter_context(self.file.open("rb"))
            replace_snapshot(source, path)
        except (DatabaseException, OSError) as error:
            raise _of_snapshot(error, path) from error


@contextmanager
def open_warehouse(
    account: Account,
    directory: Path,
    log: Callable[[str], None],
    *,
    allow_deletes: bool = False,
    wait: bool = True,
    resources: Sequence[Resource] | None = None,
) -> Iterator[OpenWarehouse]:
    """Open the warehouse of `account` for writing; a DuckDB file, or a lake, stays ours until the end.

    Args:
        account: whose warehouse it is.
        directory: where dlt keeps its files meanwhile. It must be new: what an earlier, broken load left in
            dlt's directory would be loaded first, and instead. State comes from the destination.
        log: told once if another process has the DuckDB file.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.
        wait: whether to wait for `warehouse.lock_timeout` until no other process has the DuckDB file open, or loads
            into the dataset. Without, a DuckDB file must be free, and any other warehouse is only to be read.
        resources: what is loaded or checked; None for all. Of a lake, no other tables are there to be read.

    Raises:
        WarehouseLocked: another process kept the DuckDB file or the lake, or loaded into the dataset, for too long.
        WarehouseError: the DuckDB file cannot be opened, or the warehouse does not answer.
        SettingError: the destination is not known, or its driver is missing.
    """
    settings = account.warehouse
    timeout = settings.lock_timeout if wait else 0.0
    destination = open_destination(settings.destination, account.data_dir)
    if lake := find_lake(destination, account.dataset):
        destination = duckdb_file(directory / FILE_NAME)
    with (
        ExitStack() as until_closed,
        lake_lock(account, lake.address, lock_timeout=timeout, log=log) if lake else nullcontext(),
        exclusive(
            destination,
            memory_limit=settings.memory_limit,
            lock_timeout=timeout,
            log=log,
            storage_version=settings.storage_version,
        ),
        ExitStack() as stack,
    ):
        pipeline = open_pipeline(account, destination, directory / "dlt")
        try:
            opening = cast(AbstractContextManager[SqlJobClientBase], pipeline.destination_client())
            client = stack.enter_context(opening)
            needed = tables_of(account, account.resources if resources is None else resources)
            working_copy = copy_tables(lake, client.sql_client, needed) if lake else None
        except (DatabaseException, DestinationConnectionError) as error:
            raise explained(error, account.dataset, nothing_changed=True) from error
        if wait:
            lock_dataset(client.sql_client, timeout, log)
        file = duckdb_path(destination)
        yield OpenWarehouse(account, pipeline, client, log, file, until_closed, allow_deletes, working_copy)


def open_pipeline(account: Account, destination: Destination[Any, Any], directory: Path) -> dlt.Pipeline:
    """Return a pipeline that loads into the tables of `account`, and keeps its files in `directory`."""
    return dlt.pipeline(
        account.name,
        destination=destination,
        staging=account.warehouse.staging,
        dataset_name=account.dataset,
        pipelines_dir=str(directory),
    )


def _of_snapshot(error: DatabaseException | OSError, path: Path) -> CrmAssetsError:
    kept = "The tables are loaded; their snapshot is the one before"
    if isinstance(error, OSError):
        return DiskError(
            f"{path}: {error.strerror or error}, while replacing the snapshot. {kept}. "
            "Free some disk space, or allow this user to write there, and run again."
        )
    return WarehouseError(f"The snapshot {path} could not be replaced: {error}. {kept}. Run again.")


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
    with (
        TemporaryDirectory() as directory,
        open_warehouse(account, Path(directory), _nobody, wait=False, resources=()) as opened,
    ):
        return {name: loads[0] for name, loads in read_loads(opened.sql, 1).items()}


def _nobody(_: str) -> None:
    pass
