"""The two ends of the way as Dagster resources: the CRM and the warehouse."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration
from pydantic import Field

from crm_assets.apis.api_config import ApiConfig
from crm_assets.errors import SettingError
from crm_assets.extract.checkpoints import CheckpointStore, prune_checkpoints, source_id
from crm_assets.extract.connection import Connection
from crm_assets.extract.listing import ReadOptions
from crm_assets.extract.source import TABLES
from crm_assets.extract.spool import Spooled
from crm_assets.load.deletes import Policy
from crm_assets.load.load import PIPELINE, Loaded, load
from crm_assets.load.table_locks import table_locks
from crm_assets.load.warehouses.duckdb import held
from crm_assets.project import data_directory
from crm_assets.quality.table_probe import TableProbe
from crm_assets.sandbox.running import sandbox_url
from crm_assets.sandbox.server import API_KEY, EMAIL
from crm_assets.settings import CrmSettings, SandboxSettings, SyncSettings, WarehouseSettings

Log = Callable[[str], None]


class CrmApi(dg.ConfigurableResource[None]):
    """The CRM: address, login, page size. What is left empty comes from dlt's settings `sources.crm`.

    E-mail and API key come from there only, so that they can never stand in a run's configuration.
    """

    base_url: str | None = Field(default=None, description="Instead of `sources.crm.base_url`, for this run.")
    page_size: int | None = Field(default=None, description="Instead of `sources.crm.page_size`, for this run.")

    def settings(self) -> CrmSettings:
        """Return the settings of the CRM.

        Raises:
            SettingError: one is missing or malformed.
        """
        return CrmSettings.read(base_url=self.base_url, page_size=self.page_size)

    def table(self) -> ApiConfig:
        """Return the endpoint table of the chosen API."""
        return TABLES[self.settings().api]

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Connect to the CRM; when it is the sandbox, to the one that runs, or else to one of its own.

        Raises:
            SettingError: a setting is missing or malformed.
        """
        settings = self.settings()
        if not settings.is_sandbox:
            email, api_key = settings.login()
            yield _connection(settings, settings.base_url, email, api_key)
            return
        with sandbox_url(SandboxSettings.read().port) as url:
            yield _connection(settings, url, EMAIL, API_KEY)


class Warehouse(dg.ConfigurableResource[None]):
    """The warehouse. What is left empty comes from dlt's settings `warehouse`."""

    crm_api: dg.ResourceDependency[CrmApi]
    destination: str | None = Field(default=None, description="Instead of `warehouse.destination`, for this run.")
    dataset: str | None = Field(default=None, description="Instead of `warehouse.dataset`, for this run.")
    allow_deletes: bool = Field(default=False, description="Delete, in this run, also more than `sync.delete_guard`.")

    def settings(self) -> WarehouseSettings:
        """Return the settings of the warehouse.

        Raises:
            SettingError: one is missing or malformed.
        """
        return WarehouseSettings.read(destination=self.destination, dataset=self.dataset)

    def dataset_name(self) -> str:
        """Return the dataset that the tables are in. The sandbox never writes into a real CRM's."""
        dataset = self.settings().dataset
        return f"{dataset}_sandbox" if self.crm_api.settings().is_sandbox else dataset

    def table_locks(self, resources: Sequence[str], log: Log) -> AbstractContextManager[None]:
        """Keep every other run on this machine from loading `resources` meanwhile.

        Raises:
            TableLocked: another one kept one of them for too long.
            SettingError: a setting is missing or malformed.
        """
        tables = [f"{self.dataset_name()}.{resource}" for resource in resources]
        return table_locks(_turns(), tables, timeout=self.settings().lock_timeout, log=log)

    def options(self, resource: str, connection: Connection, directory: Path) -> ReadOptions:
        """Return on what options `resource` is read; what cannot be gone on with later goes to `directory`.

        Raises:
            SettingError: a setting is malformed.
        """
        settings = SyncSettings.for_resource(resource)
        checkpoints = CheckpointStore(
            _shelves() / f"{self.dataset_name()}.{resource}", source_id(connection), settings.resume_within
        )
        return ReadOptions(directory, checkpoints, settings.new_columns)

    def prune_checkpoints(self) -> None:
        """Remove listings that broke off so long ago that nobody goes on with them."""
        prune_checkpoints(_shelves(), _turns(), _resume_within)

    @contextmanager
    def open(self, log: Log) -> Iterator[Destination[Any, Any]]:
        """Open the destination for writing; the file of DuckDB stays ours until the end.

        Raises:
            WarehouseLocked: another process kept the DuckDB file open for too long.
            WarehouseError: the DuckDB file cannot be opened.
            SettingError: a setting is missing or malformed.
        """
        settings = self.settings()
        destination = _destination(settings.destination)
        file = duckdb_path(destination)
        guard = (
            held(file, memory_limit=settings.memory_limit, lock_timeout=settings.lock_timeout, log=log)
            if file
            else nullcontext()
        )
        with guard:
            yield destination

    def load(self, destination: Destination[Any, Any], listings: Sequence[Spooled], directory: Path) -> Loaded:
        """Merge `listings` into the tables of the dataset, with dlt's files in `directory`.

        Raises:
            WarehouseError: the warehouse refused the load.
            DiskError: a file could not be written.
            SettingError: a setting is malformed.
        """
        policies = {listing.resource: self._policy(listing.resource) for listing in listings}
        return load(listings, policies, destination, self.dataset_name(), directory)

    def _policy(self, resource: str) -> Policy:
        settings = SyncSettings.for_resource(resource)
        return Policy(settings.deletes, settings.delete_guard, self.allow_deletes, settings.history)

    @contextmanager
    def probe(self, destination: Destination[Any, Any], directory: Path) -> Iterator[TableProbe]:
        """TableStats at the tables of the dataset; dlt keeps its files in `directory` meanwhile."""
        dataset = self.dataset_name()
        pipeline = dlt.pipeline(
            PIPELINE, destination=destination, dataset_name=dataset, pipelines_dir=str(directory / "look")
        )
        with pipeline.sql_client() as client:
            yield TableProbe(
                lambda sql: client.execute_sql(sql) or [],
                client.escape_column_name,
                dataset,
                client.staging_dataset_name,
            )


def _shelves() -> Path:
    return data_directory() / "unfinished"


def _turns() -> Path:
    return data_directory() / "turns"


def _resume_within(checkpoints: str) -> float:
    return SyncSettings.for_resource(checkpoints.rpartition(".")[2]).resume_within


def _connection(settings: CrmSettings, base_url: str, email: str, api_key: str) -> Connection:
    return Connection(
        base_url,
        email,
        api_key,
        page_size=settings.page_size,
        answer_seconds=settings.answer_seconds,
        answer_bytes=settings.answer_bytes,
        listing_seconds=settings.listing_seconds,
    )


def duckdb_path(destination: Destination[Any, Any]) -> Path | None:
    """Return the file of a DuckDB destination; None for every other destination."""
    if destination.destination_name != "duckdb":
        return None
    config = destination.configuration(DuckDbClientConfiguration()._bind_dataset_name(dataset_name="crm"))
    return Path(config.credentials.database)


def _destination(name: str) -> Destination[Any, Any]:
    if name == "duckdb" and dlt.secrets.get("destination.duckdb.credentials") is None:
        return dlt.destinations.duckdb(str(data_directory() / "warehouse.duckdb"))
    try:
        return dlt.destination(name)
    except UnknownDestinationModule:
        problem = f"dlt knows no destination {name!r}"
        raise SettingError(WarehouseSettings.explain("destination", "value_error", problem)) from None
