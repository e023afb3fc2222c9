"""Load complete listings into the warehouse in one dlt pipeline run."""

import errno
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns, TWriteDispositionConfig
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltResource, DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import WriteDisposition
from crm_assets.errors import CrmAssetsError, DiskError, WarehouseError
from crm_assets.extract.arrow_fields import arrow_type
from crm_assets.extract.fetch import Fetched
from crm_assets.extract.spool import Spooled
from crm_assets.load.changes import RowsBefore
from crm_assets.load.collected import with_known_lists
from crm_assets.load.deletes import (
    MissingRows,
    apply_deletes,
    count_living,
    forget_repeated,
    is_confirmed,
    missing_rows,
    table_columns,
)
from crm_assets.load.fingerprints import Fingerprint, fingerprint
from crm_assets.load.key_sql import key_sql
from crm_assets.load.resource_loads import ResourceLoad, complete_record, loads_resource
from crm_assets.load.scd2 import history, last_moment
from crm_assets.load.warehouses.destination import run_deferred
from crm_assets.models.by_products import REJECTED_COLUMNS, REJECTED_TABLE, history_table
from crm_assets.models.columns import column_hints, deletion_hints

REJECTED_HINTS: TTableSchemaColumns = {
    column.name: {"name": column.name, "data_type": column.data_type.name, "nullable": column.nullable}
    for column in REJECTED_COLUMNS
}
"""The columns of the records that cannot be rows, for dlt."""


_STEPS = ("extract", "normalize", "load")
_QUOTED_FILE = re.compile(r'file "(?P<path>[^"]+)"')
_REPLACED: Mapping[WriteDisposition, str | None] = {"merge": None, "append": "1 = 0", "replace": "1 = 1"}
"""SQL condition of the rows in whose place a listing's rows come; None for those of the same key."""


@dataclass(frozen=True)
class Loaded:
    """One load package that is in the warehouse, whole."""

    load_id: str
    seconds: float
    steps: Mapping[str, float]
    """How many of the seconds each step of dlt's took: extract, normalize, load."""
    schema: Schema
    """The columns of the tables, as dlt has them now."""
    listings: Mapping[str, Spooled]
    """What was loaded of each resource: each record once, unless records are appended."""
    missing: Mapping[str, MissingRows]
    """What each table had that its listing has not."""
    changed: Mapping[str, int]
    """How many rows of each table had other values before, where the warehouse can tell."""
    deleted: Mapping[str, int]
    """How many rows of each table were flagged as deleted, or removed."""
    deletes_blocked: frozenset[str]
    """Resources whose deletes were so doubtful that none was carried out."""

    @property
    def tables(self) -> list[str]:
        """Names of the tables that it may have merged rows into."""
        return [name for resource in self.listings for name in (resource, history_table(resource))]


@dataclass(frozen=True)
class Loads:
    """What became of listings that were to be loaded: load packages, and the error of each resource in none of them."""

    done: Sequence[Loaded]
    failed: Mapping[str, CrmAssetsError] = field(default_factory=dict)


def load(
    account: Account,
    pipeline: dlt.Pipeline,
    client: SqlClientBase[Any],
    fetched: Sequence[Fetched],
    *,
    allow_deletes: bool = False,
) -> Loaded:
    """Load the listings into their tables, append their rejected records, and apply the deletes.

    Each table changes in one transaction, whatever its write disposition. One that a listing is to replace is merged
    into where the deletes are blocked, or stays as it is without a key to merge on.

    Listings that are loaded are not resumed again.

    Args:
        account: whose tables they are, and what is done beside loading.
        pipeline: a new one, whose destination takes parquet.
        client: a connection to that destination.
        fetched: complete listings.
        allow_deletes: whether more rows than `sync.delete_guard` allows may be deleted, this once.

    Raises:
        WarehouseError: the warehouse refused the load.
        DiskError: a file could not be written.
    """
    started = monotonic()
    try:
        moment = _moment(client, [one.resource for one in fetched if account.sync[one.resource].history])
        parts = [_prepare(account, client, one, allow_deletes=allow_deletes) for one in fetched]
        load_id = _run(account, pipeline, client, parts, moment, allow_deletes=allow_deletes)
        with client.begin_transaction():
            if pipeline.destination:
                run_deferred(pipeline.destination, client)
            schema = pipeline.default_schema
            changed = {one.name: one.count_changed(client, load_id, schema) for one in parts if one.before}
            deleted = {
                one.name: _finish(account, client, one, load_id, moment, schema, allow_deletes=allow_deletes)
                for one in parts
            }
    except (PipelineStepFailed, DatabaseException) as error:
        changes_tables = not isinstance(error, PipelineStepFailed) or error.step == "load"
        problem = explained(
            error, account.dataset, nothing_changed=not changes_tables, directory=pipeline.pipelines_dir
        )
        if isinstance(problem, DiskError):
            _clear_checkpoints(fetched)  # what waits to be resumed may be what fills the disk
        raise problem from error
    _clear_checkpoints(fetched)
    return Loaded(
        load_id,
        monotonic() - started,
        _step_seconds(pipeline),
        pipeline.default_schema,
        {one.name: one.listing for one in parts},
        {one.name: one.missing for one in parts},
        changed,
        deleted,
        frozenset(one.name for one in parts if one.is_blocked),
    )


@dataclass(frozen=True)
class _Part:
    """What a load does with one table."""

    fetched: Fetched
    listing: Spooled
    """What is loaded."""
    disposition: WriteDisposition
    columns: Collection[str]
    """Those of the table, before the load."""
    missing: MissingRows
    is_blocked: bool
    before: RowsBefore | None
    unchanged: pa.BooleanArray | None

    @property
    def name(self) -> str:
        return self.listing.resource

    @property
    def says_what_is_gone(self) -> bool:
        """Whether a row that the listing does not have is to be looked at."""
        is_whole = self.fetched.since is None and not self.listing.unreadable_rows
        return self.disposition == "merge" and is_whole and not self.is_blocked

    def count_changed(self, client: SqlClientBase[Any], load_id: str, schema: Schema) -> int:
        return self.before.count_changed(client, load_id, schema.get_table_columns(self.name)) if self.before else 0


def _prepare(account: Account, client: SqlClientBase[Any], fetched: Fetched, *, allow_deletes: bool) -> _Part:
    """Return what is to be done with the table of `fetched`, of which nothing is changed yet."""
    resource = account.resource(fetched.resource)
    columns = table_columns(client, resource.name)
    missing = _missing(client, resource, fetched, columns)
    before = None
    if missing.known and resource.key:
        before = RowsBefore.remember(client, resource.name, resource.key, columns)
    is_doubtful = missing.is_doubtful(account.sync[resource.name].delete_guard)
    is_blocked = is_doubtful and _may_delete(account, resource) and not allow_deletes
    is_held_back = is_blocked or fetched.spooled.unreadable_rows > 0
    listing, disposition = _how(resource, fetched.spooled, is_held_back=is_held_back)
    if _needs_lists(fetched, columns):
        listing = with_known_lists(client, listing)
    unchanged = None
    if disposition == "merge" and before:
        unchanged = before.unchanged(client, listing.tables(), listing.schema)
    return _Part(fetched, listing, disposition, columns, missing, is_blocked, before, unchanged)


def _run(
    account: Account,
    pipeline: dlt.Pipeline,
    client: SqlClientBase[Any],
    parts: Sequence[_Part],
    moment: datetime,
    *,
    allow_deletes: bool,
) -> str:
    """Let dlt bring `parts` to the warehouse, and return the id of the load."""
    with _only_what_is_news(), dlt.config.values(_dlt_config(client)):
        records = [_record(account, one, moment, allow_deletes=allow_deletes) for one in parts]
        nothing_new = _with_nothing_new(pipeline, parts)
        rows = [_rows(client, one) for one in parts if one.name not in nothing_new]
        loads = [(one.listing, one.disposition) for one in parts]
        source = _source(account, client, rows, loads, records, moment)
        return str(pipeline.run(source, loader_file_format="parquet").loads_ids[0])


def _finish(
    account: Account,
    client: SqlClientBase[Any],
    part: _Part,
    load_id: str,
    moment: datetime,
    schema: Schema,
    *,
    allow_deletes: bool,
) -> int:
    """Do what dlt does not when the rows of `part` are in its table; return how many were deleted."""
    settings = account.sync[part.name]
    if part.unchanged is not None and part.before:
        part.before.mark_unchanged(client, load_id)
    deleted = part.missing.missing if part.disposition == "replace" else 0
    if part.says_what_is_gone:
        confirmed = allow_deletes or is_confirmed(part.fetched, part.listing, settings)
        deleted = apply_deletes(client, part.listing, settings, load_id, moment, confirmed=confirmed)
    if part.listing.rejected_rows:
        forget_repeated(client, part.name, load_id)
    left = _fingerprints(client, schema, part.listing, history=settings.history)
    living = count_living(client, part.name, deletion_hints().keys())
    complete_record(client, part.name, load_id, deleted, living, left)
    return deleted


def _moment(client: SqlClientBase[Any], with_history: Collection[str]) -> datetime:
    """Return the time of the load: after all that the histories know, also where a clock was put back."""
    known = (last_moment(client, name) for name in with_history)
    return max([datetime.now(UTC), *(one + timedelta(microseconds=1) for one in known if one)])


def _dlt_config(client: SqlClientBase[Any]) -> dict[str, Any]:
    """Return the settings of dlt with which it loads."""
    config: dict[str, Any] = {"normalize.parquet_normalizer.add_dlt_load_id": True}
    if client.capabilities.sqlglot_dialect == "duckdb":
        config["load.workers"] = 1  # a statement of DuckDB's has all its threads already, and needs memory of its own
    return config


def _step_seconds(pipeline: dlt.Pipeline) -> dict[str, float]:
    steps = pipeline.last_trace.steps if pipeline.last_trace else ()
    return {
        one.step: (one.finished_at - one.started_at).total_seconds()
        for one in steps
        if one.finished_at and one.step in _STEPS
    }


def _clear_checkpoints(fetched: Sequence[Fetched]) -> None:
    for one in fetched:
        one.checkpoints.clear()


def _missing(client: SqlClientBase[Any], resource: Resource, fetched: Fetched, columns: Collection[str]) -> MissingRows:
    """Return what the table has that the listing has not.

    That is nothing where records are appended, or where only new ones were asked for.
    """
    if resource.write_disposition == "append":
        return MissingRows(count_living(client, resource.name, columns) if columns else 0, 0)
    found = missing_rows(client, fetched.spooled, columns)
    return found if fetched.since is None else replace(found, missing=0, listing_is_short=False)


def _may_delete(account: Account, resource: Resource) -> bool:
    """Return whether a load deletes or flags anything, or ends a version, because the listing does not have it."""
    settings = account.sync[resource.name]
    return resource.write_disposition == "replace" or settings.deletes != "keep" or settings.history


def _how(resource: Resource, listing: Spooled, *, is_held_back: bool) -> tuple[Spooled, WriteDisposition]:
    """Return what is loaded of `listing`, and how; a table whose deletes are held back is not replaced."""
    if resource.write_disposition == "append":
        return listing, "append"
    if resource.write_disposition == "merge" or not is_held_back:
        return listing.newest(), resource.write_disposition
    return (listing.newest(), "merge") if resource.key else (listing.without_rows(), "append")


def _needs_lists(fetched: Fetched, columns: Collection[str]) -> bool:
    """Return whether the listing does not see all parents of a record, and the table may know more of them."""
    return fetched.since is not None and bool(fetched.spooled.collected) and {*fetched.spooled.collected} <= {*columns}


def _record(account: Account, part: _Part, moment: datetime, *, allow_deletes: bool) -> ResourceLoad:
    fetched, newest, missing = part.fetched, part.listing, part.missing
    return ResourceLoad(
        resource=fetched.resource,
        loaded_at=moment,
        fetch_seconds=fetched.seconds,
        records=fetched.records,
        rows_loaded=newest.rows,
        rows_rejected=newest.rejected_rows,
        rows_before=missing.rows,
        rows_missing=missing.missing,
        deletes=account.sync[fetched.resource].deletes,
        deletes_blocked=part.is_blocked,
        deletes_allowed=allow_deletes,
        listing_is_short=missing.listing_is_short,
        reported_count=newest.reported_count(),
        repeated_ids=newest.repeated_ids,
        moved_ids=newest.moved_ids,
        fields=newest.fields,
        since=fetched.since,
    )


def _fingerprints(
    client: SqlClientBase[Any], schema: Schema, listing: Spooled, *, history: bool
) -> dict[str, Fingerprint]:
    tables = [listing.resource, history_table(listing.resource)] if history else [listing.resource]
    found = {table: fingerprint(client, table, listing.key, list(schema.get_table_columns(table))) for table in tables}
    return {table: one for table, one in found.items() if one}


def _source(
    account: Account,
    client: SqlClientBase[Any],
    rows: Sequence[DltResource],
    loads: Sequence[tuple[Spooled, WriteDisposition]],
    records: Sequence[ResourceLoad],
    moment: datetime,
) -> DltSource:
    @dlt.source(name=account.name)
    def source() -> list[DltResource]:
        versions = [
            _versions(client, listing, disposition, moment)
            for listing, disposition in loads
            if account.sync[listing.resource].history
        ]
        return [*rows, *versions, _rejected([listing for listing, _ in loads]), loads_resource(records)]

    return source()


def _rows(client: SqlClientBase[Any], part: _Part) -> DltResource:
    """Return the dlt resource of the rows of `part` that are not unchanged.

    For dlt it is a merge in any case, because that is one transaction: its append and its replace are not. But into a
    DuckDB that has no such table yet, to append is one statement, without a copy in the staging dataset.
    """
    listing = part.listing
    how: TWriteDispositionConfig = {"disposition": "merge", "strategy": "delete-insert"}
    if not part.columns and client.capabilities.sqlglot_dialect == "duckdb":
        how = "append"
    tables = listing.tables() if part.unchanged is None else _without(listing.tables(), part.unchanged)
    rows = dlt.resource(
        map(_with_deletion_columns, tables),
        name=listing.resource,
        write_disposition=how,
        columns={**_hints(listing), **deletion_hints()},
    )
    hints: dict[str, Any] = {
        "x-merge-destination-scope": _REPLACED[part.disposition],
        "x-stage-data-deduplicated": part.disposition != "merge",
    }
    # Not in the write disposition, where a value that is None would leave what an earlier load said.
    return rows.apply_hints(additional_table_hints=hints)


def _with_nothing_new(pipeline: dlt.Pipeline, parts: Sequence[_Part]) -> set[str]:
    """Return the resources whose tables have all rows of their listings already, and all columns, as far as dlt knows.

    The preflight has seen to it that dlt knows of no column that is not there.
    """
    whole = [
        one.listing for one in parts if one.listing.rows and one.unchanged is not None and pc.all(one.unchanged).as_py()
    ]
    if not whole:
        return set()
    pipeline.sync_destination()
    if not pipeline.default_schema_name:
        return set()
    known = pipeline.default_schema.tables
    return {
        one.resource
        for one in whole
        if one.resource in known and {*one.schema.names, *deletion_hints()} <= known[one.resource]["columns"].keys()
    }


def _without(tables: Iterator[pa.Table], left_out: pa.BooleanArray) -> Iterator[pa.Table]:
    """Yield `tables` without the rows that are true in `left_out`; an empty one if there are no others."""
    place, is_empty, table = 0, True, None
    for table in tables:
        left = table.filter(pc.invert(left_out.slice(place, table.num_rows)))
        place += table.num_rows
        if left.num_rows:
            is_empty = False
            yield left
    if is_empty and table is not None:
        yield table.slice(0, 0)


def _with_deletion_columns(table: pa.Table) -> pa.Table:
    """Return `table` with all columns that dlt is told of: else it would write each file a second time, with them."""
    for name in deletion_hints():
        table = table.append_column(name, pa.nulls(table.num_rows, arrow_type("timestamp")))
    return table


def _versions(
    client: SqlClientBase[Any], listing: Spooled, disposition: WriteDisposition, moment: datetime
) -> DltResource:
    """Return the dlt resource of the history of `listing`. What it does not have is for `apply_deletes` to end."""
    key = key_sql(client, listing.key)
    ends = _REPLACED[disposition] or f"({key}) IN (SELECT {key} FROM {{staging_table}})"
    return history(listing, _hints(listing), moment, ends)


def _hints(listing: Spooled) -> TTableSchemaColumns:
    return column_hints(listing.columns, listing.types, listing.key, listing.columns_of_fields)


def _rejected(listings: Sequence[Spooled]) -> DltResource:
    with_rejected = [listing for listing in listings if listing.rejected] or listings[:1]
    tables = chain.from_iterable(listing.rejected_tables() for listing in with_rejected)
    return dlt.resource(tables, name=REJECTED_TABLE, write_disposition="append", columns=REJECTED_HINTS)


@contextmanager
def _only_what_is_news() -> Iterator[None]:
    """Keep dlt from logging what is meant, or what reaches the reader as an error.

    It warns once per table that a column hint says JSON where Arrow says text, and logs each attempt of a job that
    fails with its whole traceback, before it raises the last one.
    """
    unwanted = ("merging arrow schema with dlt schema", "Traceback (most recent call last)", "was not fully loaded")

    def is_news(record: logging.LogRecord) -> bool:
        return not record.exc_info and not any(text in record.getMessage() for text in unwanted)

    logger = logging.getLogger("dlt")
    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


def explained(error: Exception, dataset: str, *, nothing_changed: bool, directory: str = "") -> CrmAssetsError:
    """Return what `error` of dlt or of the warehouse, while loading into `dataset`, means for the reader.

    Args:
        error: what was raised.
        dataset: name of the dataset.
        nothing_changed: whether it is certain that no table was changed.
        directory: where dlt keeps its files; a file that could not be written is there if no other is named.
    """
    causes = list(_causes(error))
    texts = [str(cause) for cause in causes]
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if any(os.strerror(number) in text for text in texts):
            return DiskError.of(
                OSError(number, os.strerror(number), _file(causes) or directory), f"loading into {dataset}"
            )
    if any("Out of Memory" in text or "failed to allocate" in text for text in texts):
        return WarehouseError(
            f"Loading into {dataset} needs more memory than DuckDB was given. Raise warehouse.memory_limit "
            "(.dlt/config.toml, or WAREHOUSE__MEMORY_LIMIT); tables that were not reached are as they were."
        )
    changed = "No table was changed" if nothing_changed else "Tables that were not reached are as they were"
    step = f" in dlt's step {error.step}" if isinstance(error, PipelineStepFailed) else ""
    return WarehouseError(
        f"Loading into {dataset} failed{step}: {texts[-1].strip().rstrip('.')}. "
        f"{changed}. Once the cause is gone, a run loads everything again."
    )


def _file(causes: Sequence[BaseException]) -> str:
    """Return the file that one of `causes` names: the operating system's, or DuckDB's."""
    named = [str(cause.filename) for cause in causes if isinstance(cause, OSError) and cause.filename]
    found = (_QUOTED_FILE.search(str(cause)) for cause in causes)
    return next(iter([*named, *(match["path"] for match in found if match)]), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
