"""Open a destination of dlt by its name: its driver, its file, its lock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ValueNotSecretException,
)
from dlt.common.configuration.resolve import resolve_configuration
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration, DuckDbCredentials
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from crm_assets.errors import SettingError
from crm_assets.load.warehouses.duckdb import held
from crm_assets.settings import find_setting

_SETTING = "warehouse.destination (WAREHOUSE__DESTINATION)"
_DELTA_PROTOCOLS = ("file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss")
"""Of the addresses that dlt's filesystem destination takes, those at which Delta tables can be."""


def open_destination(name: str, directory: Path) -> Destination[Any, Any]:
    """Return the destination `name`, with its driver imported and its settings read; nothing is connected to.

    Args:
        name: one of dlt's own, or one that is named in dlt's settings: `destination.<name>.destination_type`.
        directory: where the file of a DuckDB goes that has no credentials: `warehouse.duckdb`, or
            `<name>.duckdb` for one with a name of its own.

    Raises:
        SettingError: dlt knows no such destination, its driver is not installed, it has no SQL, or its settings
            cannot be used.
    """
    try:
        destination = dlt.destination(name)
        if _is_duckdb(destination):
            return _with_transactions(_duckdb(destination, name, directory))
        if is_lake(destination):
            _require_delta(destination, name)
            return destination
        _require_driver(destination, name)
        if _kind(destination) == "postgres":
            destination = _postgres(destination)
        if not issubclass(destination.client_class, SqlJobClientBase):
            raise SettingError(f"{_SETTING} is {name!r}, which has no SQL: the tables need merges and deletes.")
        spec: Any = destination.spec()
        destination.configuration(spec._bind_dataset_name(dataset_name="crm"))
    except UnknownDestinationModule as error:
        kind = f" of the type {error.destination_type!r}" if error.destination_type else ""
        raise SettingError(f"{_SETTING} cannot be used: dlt knows no destination {name!r}{kind}.") from None
    except ConfigFieldMissingException as error:
        # Where the address of a bucket is missing, dlt names its folder for local files too, which it knows by itself.
        fields = [field for field in error.fields if field != "local_dir"]
        file = "config.toml" if fields == ["bucket_url"] else "secrets.toml"
        problem = f"{', '.join(fields)} not set under [destination.{name}] in .dlt/{file}"
        raise SettingError(f"{_SETTING} is {name!r}, and cannot be used: {problem}.") from None
    except ConfigurationException as error:
        raise SettingError(f"The settings destination.{name} cannot be used: {_first_line(error)}") from None
    return destination


def require_parquet(destination: Destination[Any, Any], staging: str | None) -> None:
    """Check that `destination` takes the files of a load: directly, or through `staging`.

    Raises:
        SettingError: it takes them only through a bucket, and `warehouse.staging` names none; or it takes none
            from one.
    """
    capabilities = destination.capabilities()
    if staging and "parquet" not in (capabilities.supported_staging_file_formats or ()):
        raise SettingError(
            f"warehouse.staging (WAREHOUSE__STAGING) is {staging!r}, and {destination.destination_name} loads nothing "
            "from a bucket. Unset it."
        )
    if not staging and "parquet" not in (capabilities.supported_loader_file_formats or ()):
        raise SettingError(
            f"{_SETTING} is {destination.destination_name!r}, which loads files only from a bucket. Set "
            '`staging = "filesystem"` under [warehouse] in .dlt/config.toml, or WAREHOUSE__STAGING in the environment, '
            "and the bucket under [destination.filesystem]."
        )


def duckdb_file(path: Path) -> Destination[Any, Any]:
    """Return the DuckDB file `path` as a destination, whatever the settings say of others."""
    return _with_transactions(dlt.destination("working_copy", destination_type="duckdb", credentials=str(path)))


def _with_transactions(destination: Destination[Any, Any]) -> Destination[Any, Any]:
    # dlt 1.31 does not know that DuckDB has them: a merge that fails after its DELETE would leave a table without rows.
    destination.caps_params["supports_transactions"] = True
    return _looked_at_once(destination)


def _looked_at_once(destination: Destination[Any, Any]) -> Destination[Any, Any]:
    """Return `destination` with capabilities that are computed once.

    dlt 1.31 does so some twenty times in a load, and reads all settings of the destination each time, for nothing:
    what it wants is the same whatever they say.
    """
    compute = destination.capabilities
    found = cache(compute)

    def capabilities(config: Any = None, naming: Any = None) -> Any:
        return compute(config, naming) if config or naming else found().copy()

    destination.capabilities = capabilities  # type: ignore[method-assign]
    return destination


def is_lake(destination: Destination[Any, Any]) -> bool:
    """Return whether the tables are files in a folder or an object store."""
    return _kind(destination) == "filesystem"


def duckdb_path(destination: Destination[Any, Any]) -> Path | None:
    """Return the file of a DuckDB destination, whatever its name; None for every other destination."""
    if not _is_duckdb(destination):
        return None
    config = destination.configuration(DuckDbClientConfiguration()._bind_dataset_name(dataset_name="crm"))
    return Path(config.credentials.database)


@contextmanager
def exclusive(
    destination: Destination[Any, Any],
    *,
    memory_limit: str,
    lock_timeout: float,
    log: Callable[[str], None],
    storage_version: str = "latest",
) -> Iterator[None]:
    """Keep the file of a DuckDB destination open for this process alone; of any other destination, nothing.

    Args:
        destination: any of dlt's.
        memory_limit: what DuckDB may use, e.g. `300MB`.
        lock_timeout: seconds to wait for another process to close the file.
        log: told once when the waiting begins.
        storage_version: the oldest DuckDB that can open the file, if it is made now: `v1.0.0`, or `latest`.

    Raises:
        WarehouseLocked: the file is still open elsewhere after `lock_timeout`.
        WarehouseError: the file cannot be opened at all.
        SettingError: `memory_limit` or `storage_version` is not one that DuckDB takes.
    """
    file = duckdb_path(destination)
    if file is None:
        yield
        return
    with held(file, memory_limit=memory_limit, lock_timeout=lock_timeout, log=log, storage_version=storage_version):
        yield


@contextmanager
def shared_locks(
    destination: Destination[Any, Any], dataset: str, tables: Sequence[str], timeout: float, log: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Keep runs on other machines from loading `tables`, where the destination has locks; see `advisory_locks`.

    A DuckDB file is on one machine.

    Yields:
        A function that raises WarehouseError if the locks were lost.

    Raises:
        TableLocked: another run kept a table for longer than `timeout` seconds.
        WarehouseError: the destination cannot be connected to.
    """
    if _kind(destination) != "postgres" or not tables:
        yield _nothing
        return
    from crm_assets.load.warehouses.advisory_locks import table_locks

    spec: Any = destination.spec()
    credentials = destination.configuration(spec._bind_dataset_name(dataset_name=dataset)).credentials
    with table_locks(credentials.to_native_representation(), dataset, tables, timeout, log) as require_locks:
        yield require_locks


def lock_dataset(client: SqlClientBase[Any], timeout: float, log: Callable[[str], None]) -> None:
    """Let no run on another machine load into the dataset of `client` while that is open, where there are such locks.

    Raises:
        WarehouseLocked: another run is loading into it for longer than `timeout` seconds.
    """
    if client.capabilities.sqlglot_dialect == "postgres":
        from crm_assets.load.warehouses.advisory_locks import lock_dataset as lock

        lock(client.native_connection, client.dataset_name, timeout, log)


def run_deferred(destination: Destination[Any, Any], client: SqlClientBase[Any]) -> None:
    """Merge what dlt has brought to the warehouse, if `destination` keeps it from doing so itself."""
    if _kind(destination) == "postgres":
        from crm_assets.load.warehouses.postgres import DeferringPostgres

        if isinstance(destination, DeferringPostgres):
            destination.run_deferred(client)


def forget_deferred(destination: Destination[Any, Any] | None) -> None:
    """Let nothing be merged that a broken load has brought to the warehouse."""
    if destination and _kind(destination) == "postgres":
        from crm_assets.load.warehouses.postgres import DeferringPostgres

        if isinstance(destination, DeferringPostgres):
            destination.forget_deferred()


def _nothing() -> None:
    pass


def _postgres(destination: Destination[Any, Any]) -> Destination[Any, Any]:
    from crm_assets.load.warehouses.postgres import DeferringPostgres

    if find_setting("load.truncate_staging_dataset"):
        raise SettingError(
            "load.truncate_staging_dataset is on: dlt would empty the tables that are to be merged. Remove it from "
            ".dlt/config.toml, or LOAD__TRUNCATE_STAGING_DATASET from the environment. Nothing stays there anyway."
        )
    return DeferringPostgres(**destination.config_params)


def _is_duckdb(destination: Destination[Any, Any]) -> bool:
    return _kind(destination) == "duckdb"


def _kind(destination: Destination[Any, Any]) -> str:
    """Return the type of `destination`, without the package that it is in."""
    return destination.destination_type.rpartition(".")[2]


def _duckdb(destination: Destination[Any, Any], name: str, directory: Path) -> Destination[Any, Any]:
    key = destination.destination_name
    sections = ("destination", key)
    try:
        configured = resolve_configuration(DuckDbCredentials(), sections=sections, accept_partial=True).database
    except ValueNotSecretException:
        # dlt refuses to read credentials from config.toml; the path of a file is no secret.
        found: Any = dlt.config.get(f"destination.{key}.credentials")
        path = found.get("database") if isinstance(found, dict) else found
        if not isinstance(path, str):
            raise
        is_path = "://" not in path and not path.startswith(":")
        return dlt.destination(name, credentials=str(directory.parent / path) if is_path else path)
    if configured:
        return destination
    file = "warehouse" if key == "duckdb" else key
    return dlt.destination(name, credentials=str(directory / f"{file}.duckdb"))


def _require_delta(destination: Destination[Any, Any], name: str) -> None:
    try:
        import deltalake  # noqa: F401
        from dlt.common.libs.deltalake import deltalake_storage_options
    except ImportError as error:
        raise SettingError(
            f"{_SETTING} is {name!r}, which keeps Delta tables, and deltalake is not installed: {error}. "
            'Install it: pip install "crm_assets[delta]"'
        ) from None
    spec: Any = destination.spec()
    config = destination.configuration(spec._bind_dataset_name(dataset_name="crm"))
    if config.protocol not in _DELTA_PROTOCOLS:
        raise SettingError(
            f"destination.{destination.destination_name}.bucket_url is {config.bucket_url}, no place for Delta tables. "
            "Set the path of a folder, or an address that begins with s3://, gs:// or az://."
        )
    deltalake_storage_options(config.credentials, config.deltalake_storage_options)  # refuses those that are not whole


def _require_driver(destination: Destination[Any, Any], name: str) -> None:
    kind = _kind(destination)
    try:
        destination.client_class  # noqa: B018 - dlt imports the driver here
    except ImportError as error:
        raise SettingError(_missing(name, kind, _first_line(error))) from None
    capabilities = destination.capabilities()
    formats = list(capabilities.supported_loader_file_formats or ())
    if "parquet" in formats and (select := capabilities.loader_file_format_selector):
        # dlt takes parquet off the list where the ADBC driver is missing, and then fails in the middle of a load.
        _, chosen = select("parquet", formats, table_schema={"name": "crm"})
        if "parquet" not in chosen:
            raise SettingError(_missing(name, kind, "no ADBC driver"))


def _missing(name: str, kind: str, problem: str) -> str:
    packages = (one for one in ("crm_assets", "dlt") if kind in (metadata(one).get_all("Provides-Extra") or []))
    package = next(packages, None)
    remedy = f'pip install "{package}[{kind}]"' if package else "see dlt's documentation of it"
    return f"{_SETTING} is {name!r}, and its driver is not installed: {problem.rstrip('.')}. Install it: {remedy}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
