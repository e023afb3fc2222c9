"""A lake: the tables of a dataset as Delta tables, in a folder or in an object store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt.common.destination import Destination
from dlt.common.schema.typing import LOADS_TABLE_NAME

from crm_assets.errors import WarehouseError
from crm_assets.load.warehouses.destination import is_lake

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True)
class Lake:
    """The Delta tables of one dataset."""

    address: str
    """The folder in which each table has one: a path of this machine, or a URL."""
    storage_options: Mapping[str, str]
    """How the object store is reached: credentials and so on."""
    table_properties: Mapping[str, str | None]
    """Properties of a new Delta table, such as `delta.deletedFileRetentionDuration`."""

    def table_address(self, table: str) -> str:
        """Return the path or the URL of `table`."""
        return f"{self.address}/{table}"

    def table_uri(self, table: str) -> str:
        """Return the URL of `table`."""
        address = self.table_address(table)
        return address if "://" in address else Path(address).as_uri()

    def exists(self) -> bool:
        """Return whether a load was published there.

        Raises:
            WarehouseError: the lake cannot be read.
        """
        return self.find(LOADS_TABLE_NAME) is not None

    def find(self, table: str) -> "DeltaTable | None":
        """Return `table` as it is now; None if there is none.

        Raises:
            WarehouseError: it cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        address = self.table_address(table)
        with delta_errors(f"The Delta table {address} cannot be read"):
            try:
                return DeltaTable(address, storage_options=dict(self.storage_options))
            except TableNotFoundError:
                return None


def find_lake(destination: Destination[Any, Any], dataset: str) -> Lake | None:
    """Return where dlt's filesystem destination has the tables of `dataset`; None for every other destination."""
    if not is_lake(destination):
        return None
    from dlt.common.libs.deltalake import deltalake_storage_options

    spec: Any = destination.spec()
    config = destination.configuration(spec._bind_dataset_name(dataset_name=dataset))
    root = config.make_local_path(config.bucket_url) if config.is_local_filesystem else config.bucket_url.rstrip("/")
    options = deltalake_storage_options(config.credentials, config.deltalake_storage_options)
    return Lake(f"{root}/{dataset}", options, config.deltalake_configuration or {})


@contextmanager
def delta_errors(what: str) -> Iterator[None]:
    """Let an error of Delta's in the block begin with `what`.

    Raises:
        WarehouseError: instead of that error.
    """
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError) as error:
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise WarehouseError(f"{what}: {text.rstrip('.')}. Once the cause is gone, run again.") from error
