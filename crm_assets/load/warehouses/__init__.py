"""The warehouses: opening a dlt destination by its name, and what differs between them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration

from crm_assets.errors import SettingError
from crm_assets.load.warehouses.duckdb import held
from crm_assets.settings import WarehouseSettings


@contextmanager
def open_destination(
    settings: WarehouseSettings, data_dir: Path, log: Callable[[str], None]
) -> Iterator[Destination[Any, Any]]:
    """Open the destination for writing; a DuckDB file stays ours until the end."""
    destination = _destination(settings.destination, data_dir)
    file = duckdb_path(destination)
    guard = (
        held(file, memory_limit=settings.memory_limit, lock_timeout=settings.lock_timeout, log=log)
        if file
        else nullcontext()
    )
    with guard:
        yield destination


def duckdb_path(destination: Destination[Any, Any]) -> Path | None:
    """Return the file of a DuckDB destination; None for every other destination."""
    if destination.destination_name != "duckdb":
        return None
    config = destination.configuration(DuckDbClientConfiguration()._bind_dataset_name(dataset_name="crm"))
    return Path(config.credentials.database)


def _destination(name: str, data_dir: Path) -> Destination[Any, Any]:
    if name == "duckdb" and dlt.secrets.get("destination.duckdb.credentials") is None:
        return dlt.destinations.duckdb(str(data_dir / "warehouse.duckdb"))
    try:
        return dlt.destination(name)
    except UnknownDestinationModule:
        raise SettingError(f"warehouse.destination: dlt knows no destination {name!r}") from None
