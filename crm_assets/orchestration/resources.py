"""The two ends of the way as Dagster resources: the CRM and the warehouse of an account."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.extract.connect import connect
from crm_assets.extract.connection import Connection
from crm_assets.orchestration.keys import api_resource, warehouse_resource

if TYPE_CHECKING:
    from crm_assets.load.warehouse import OpenWarehouse


@dataclass(frozen=True)
class CrmApi:
    """The CRM of an account. E-mail and API key come from dlt's settings, never from a run's configuration."""

    account: Account

    def connect(self) -> AbstractContextManager[Connection]:
        """Connect to the CRM; when it is the sandbox, to the one that is running, or else to one of its own.

        Raises:
            SettingError: address or login is not set.
        """
        return connect(self.account)


class WarehouseConfig(dg.Config):
    """What a run may say about its load."""

    allow_deletes: bool = Field(
        default=False, description="Apply deletes in this run even if `sync.delete_guard` would block them."
    )


@dataclass(frozen=True)
class Warehouse:
    """The warehouse of an account."""

    account: Account
    allow_deletes: bool = False

    def require_destination(self) -> None:
        """Check that the destination can be used, before anything is requested from the CRM.

        Raises:
            SettingError: dlt knows no such destination, its driver is not installed, or its settings cannot be used;
                or there can be no snapshot where the settings say.
        """
        from crm_assets.load.warehouses.destination import open_destination, require_parquet
        from crm_assets.load.warehouses.snapshot import snapshot_path

        destination = open_destination(self.account.warehouse.destination, self.account.data_dir)
        require_parquet(destination, self.account.warehouse.staging)
        snapshot_path(self.account)

    def exists(self) -> bool:
        """Return whether there may be tables: only of a DuckDB file and of a lake can it be said that there are none.

        Raises:
            WarehouseError: the lake cannot be read.
        """
        from crm_assets.load.warehouses.destination import duckdb_path, open_destination
        from crm_assets.load.warehouses.lake import find_lake

        destination = open_destination(self.account.warehouse.destination, self.account.data_dir)
        if lake := find_lake(destination, self.account.dataset):
            return lake.exists()
        file = duckdb_path(destination)
        return file is None or file.exists()

    def open(
        self,
        directory: Path,
        log: Callable[[str], None],
        *,
        wait: bool = True,
        resources: Sequence[Resource] | None = None,
    ) -> "AbstractContextManager[OpenWarehouse]":
        """Open the warehouse for one run; see `open_warehouse`.

        Args:
            directory: where dlt keeps its files meanwhile.
            log: told what happens.
            wait: whether to wait for another process to close the DuckDB file.
            resources: what is loaded or checked; None for all.
        """
        from crm_assets.load.warehouse import open_warehouse

        return open_warehouse(
            self.account, directory, log, allow_deletes=self.allow_deletes, wait=wait, resources=resources
        )


def build_resources(account: Account) -> Mapping[str, dg.ResourceDefinition]:
    """Return the resources of `account` by their names."""

    def warehouse(context: dg.InitResourceContext) -> Warehouse:
        return Warehouse(account, **context.resource_config)

    return {
        api_resource(account): dg.ResourceDefinition.hardcoded_resource(
            CrmApi(account), f"The CRM's API. Address and login are the settings of [{account.section}]."
        ),
        warehouse_resource(account): dg.ResourceDefinition(
            warehouse,
            config_schema=WarehouseConfig.to_config_schema(),
            description=f"The warehouse: destination {account.warehouse.destination}, dataset {account.dataset}.",
        ),
    }
