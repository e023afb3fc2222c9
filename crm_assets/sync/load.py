"""Load complete listings into the warehouse in one dlt pipeline run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import dlt
from dlt.common.destination import Destination
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource, DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from crm_assets.errors import WarehouseError
from crm_assets.schemas.columns import dlt_columns, undeclared_hint
from crm_assets.sync.spool import Spooled

PIPELINE = "crm"
REJECTED_TABLE = "rejected_records"
"""Where the records go that cannot be rows, each with the reason."""

_REJECTED_COLUMNS: TTableSchemaColumns = {
    "resource": {"name": "resource", "data_type": "text", "nullable": False},
    "record_id": {"name": "record_id", "data_type": "text", "nullable": True},
    "reason": {"name": "reason", "data_type": "text", "nullable": False},
    "record": {"name": "record", "data_type": "json", "nullable": False},
}


_DLT_CONFIG = {
    "normalize.parquet_normalizer.add_dlt_load_id": True,
    "load.truncate_staging_dataset": True,  # a second copy of the CRM would stay in the warehouse
}


@dataclass(frozen=True)
class Loaded:
    """One load package that is in the warehouse, whole."""

    load_id: str
    seconds: float
    pipeline: dlt.Pipeline


def load(listings: Sequence[Spooled], destination: Destination[Any, Any], dataset: str, directory: Path) -> Loaded:
    """Merge the rows of `listings` into their tables, and append their rejected records.

    Args:
        listings: complete listings.
        destination: any dlt SQL destination that takes parquet.
        dataset: name of the dataset (schema) of the tables.
        directory: where dlt keeps its files during this load. It must be new: what an earlier, broken
            load left in dlt's directory would be loaded first, and instead. State comes from the destination.

    Raises:
        WarehouseError: the warehouse refused the load.
    """
    started = monotonic()
    pipeline = dlt.pipeline(
        PIPELINE,
        destination=destination,
        dataset_name=dataset,
        pipelines_dir=str(directory / "dlt"),
    )
    try:
        with _json_as_text_is_meant(), dlt.config.values(_DLT_CONFIG):
            info = pipeline.run(_spooled_source(listings), loader_file_format="parquet")
    except PipelineStepFailed as error:
        raise WarehouseError(_explained(error, dataset)) from error
    return Loaded(info.loads_ids[0], monotonic() - started, pipeline)


def _spooled_source(listings: Sequence[Spooled]) -> DltSource:
    @dlt.source(name=PIPELINE)
    def crm() -> list[DltResource]:
        return [*map(_rows, listings), _rejected(listings)]

    return crm()


def _rows(listing: Spooled) -> DltResource:
    declared = dlt_columns(listing.resource)
    undeclared = {name: undeclared_hint(name) for name in listing.schema.names if name not in declared}
    return dlt.resource(
        listing.tables(),
        name=listing.resource,
        primary_key="id",
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
        columns={**declared, **undeclared},
    )


def _rejected(listings: Sequence[Spooled]) -> DltResource:
    with_rejected = [listing for listing in listings if listing.rejected] or listings[:1]
    tables = chain.from_iterable(listing.rejected_tables() for listing in with_rejected)
    return dlt.resource(tables, name=REJECTED_TABLE, write_disposition="append", columns=_REJECTED_COLUMNS)


@contextmanager
def _json_as_text_is_meant() -> Iterator[None]:
    """Keep dlt from warning, once per table, that a column hint says JSON where Arrow says text."""

    def other(record: logging.LogRecord) -> bool:
        return "merging arrow schema with dlt schema" not in record.getMessage()

    logger = logging.getLogger("dlt")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _explained(error: PipelineStepFailed, dataset: str) -> str:
    causes = [str(cause) for cause in _causes(error)]
    if any("Out of Memory" in cause or "failed to allocate" in cause for cause in causes):
        return (
            f"Loading into {dataset} needs more memory than DuckDB was given. Raise warehouse.memory_limit "
            "(.dlt/config.toml, or WAREHOUSE__MEMORY_LIMIT); tables that were not reached are as they were."
        )
    return (
        f"Loading into {dataset} failed in dlt's step {error.step}: {causes[-1]} "
        "Tables that were not reached are as they were; the next run loads everything again."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
