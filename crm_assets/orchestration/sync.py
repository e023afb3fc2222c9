"""What the step of an account does: the way of the data, as Dagster events."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import CrmAssetsError, DiskError, PartialSyncError, WarehouseError
from crm_assets.extract.fetch import Fetched, Listings, fetch
from crm_assets.extract.incremental import Start
from crm_assets.extract.progress import ProgressListener, listener_or_log
from crm_assets.extract.working_directory import working_directory
from crm_assets.load.table_locks import table_locks
from crm_assets.load.tables import facts
from crm_assets.orchestration.by_products import by_product_events
from crm_assets.orchestration.checks import evaluate
from crm_assets.orchestration.heartbeat import heartbeat
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.metadata import materialization_metadata
from crm_assets.orchestration.resources import CrmApi, Warehouse
from crm_assets.orchestration.run_history import failure
from crm_assets.project import exposed_secrets
from crm_assets.unknown_settings import unknown_settings

if TYPE_CHECKING:
    from crm_assets.load.load import Loaded
    from crm_assets.load.warehouse import OpenWarehouse

MAX_RETRIES = 1
"""How often a step tries once more what did not load because the CRM or the warehouse was busy."""


def sync(
    context: dg.AssetExecutionContext, crm_api: CrmApi, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Fetch all selected resources at once, load all complete listings together, check each table.

    Raises:
        dg.RetryRequested: something is busy, and the step has not been tried once more yet.
        dg.Failure: some resources did not load; says which and why, also as data.
    """
    account = crm_api.account
    listener = listener_or_log(context.log.info)
    wanted = _wanted(context, account)
    with (
        heartbeat(context),
        _told_to_dagster(context, account, listener),
        working_directory(account, context.run.run_id) as directory,
        table_locks(account, wanted, listener.say) as require_locks,
    ):
        warehouse.require_destination()
        listings = Listings()
        if wanted:
            starts = _starts(account, wanted, warehouse, directory, listener)
            with crm_api.connect() as connection:
                listings = fetch(account, wanted, connection, directory, listener, starts)
        nothing_to_load = bool(wanted and not listings.complete)
        if not nothing_to_load or warehouse.exists():
            opening = warehouse.open(
                directory, listener.say, wait=not nothing_to_load, resources=_read(context, account)
            )
            with _unless(nothing_to_load), opening as opened:
                require_locks()
                listings = opened.refuse_conflicts(listings)
                if listings.complete:
                    loads = opened.load(listings.complete)
                    yield from _materializations(context, opened, listings.complete, loads.done)
                    listings = listings.without(loads.failed)
                problem = _problem(context, account, listings)
                if not (problem and _is_retried(context, problem)):
                    with opened.checkpointing():
                        yield from evaluate(account, opened, context.selected_asset_check_keys, listings.failed)
                if listings.complete:
                    _replace_snapshot(opened, listener, problem)
        if problem := _problem(context, account, listings):
            raise problem


def _starts(
    account: Account, wanted: Sequence[Resource], warehouse: Warehouse, directory: Path, listener: ProgressListener
) -> dict[str, Start]:
    """Return where incremental listings begin; the warehouse is opened only if there may be some."""
    if not warehouse.exists() or not any(one.incremental and account.sync[one.name].mode != "full" for one in wanted):
        return {}
    with warehouse.open(directory / "starts", listener.say, resources=wanted) as opened:
        return opened.listing_starts(wanted)


def _unless(nothing_to_load: bool) -> AbstractContextManager[None]:
    """Let a warehouse that cannot be opened pass when nothing is to be loaded: why that is so is told instead."""
    return suppress(WarehouseError) if nothing_to_load else nullcontext()


def _materializations(
    context: dg.AssetExecutionContext,
    warehouse: "OpenWarehouse",
    fetched: Sequence[Fetched],
    loads: Sequence["Loaded"],
) -> Iterator[dg.MaterializeResult[None]]:
    for loaded in loads:
        resources = {name: warehouse.account.resource(name) for name in loaded.listings}
        keys = {name: resource.key for name, resource in resources.items()}
        tables = facts(warehouse.sql, loaded.schema, keys, loaded.load_id)
        for one in fetched:
            if resource := resources.get(one.resource):
                metadata = materialization_metadata(one, loaded, tables[one.resource], resource, warehouse)
                yield dg.MaterializeResult(asset_key=asset_key(warehouse.account, one.resource), metadata=metadata)
        for event in by_product_events(warehouse, loaded):
            context.log_event(event)


def _replace_snapshot(warehouse: "OpenWarehouse", listener: ProgressListener, problem: CrmAssetsError | None) -> None:
    """Make the copy for readers anew. A fault ends the run when all else is done, unless there is a worse one."""
    try:
        warehouse.replace_snapshot()
    except CrmAssetsError as error:
        if problem is None:
            raise
        listener.say(str(error))


@contextmanager
def _told_to_dagster(context: dg.AssetExecutionContext, account: Account, listener: ProgressListener) -> Iterator[None]:
    """Let Dagster know how the attempt ended: to try once more, or what failed and why."""
    for warning in [exposed_secrets(), *unknown_settings(account)]:
        if warning:
            listener.say(warning)
    try:
        yield
    except (CrmAssetsError, OSError) as problem:
        error = DiskError.of(problem, "working") if isinstance(problem, OSError) else problem
        # Not a RetryPolicy: Dagster would take a cancelled run for one worth trying again.
        if _is_retried(context, error):
            listener.say(f"{error}\nRetrying in {account.retry_pause:g} s.")
            raise dg.RetryRequested(MAX_RETRIES, account.retry_pause) from error
        raise failure(account, error) from error


def _problem(context: dg.AssetExecutionContext, account: Account, listings: Listings) -> PartialSyncError | None:
    return PartialSyncError(listings.failed, _landed(context, account)) if listings.failed else None


def _is_retried(context: dg.AssetExecutionContext, error: CrmAssetsError) -> bool:
    return error.worth_retrying and context.retry_number < MAX_RETRIES


def _wanted(context: dg.AssetExecutionContext, account: Account) -> list[Resource]:
    landed = _landed(context, account) if context.retry_number else set()
    return [
        resource
        for resource in account.resources
        if asset_key(account, resource.name) in context.selected_asset_keys and resource.name not in landed
    ]


def _read(context: dg.AssetExecutionContext, account: Account) -> list[Resource]:
    """Return the resources whose tables the step loads or checks."""
    keys = context.selected_asset_keys | {key.asset_key for key in context.selected_asset_check_keys}
    return [resource for resource in account.resources if asset_key(account, resource.name) in keys]


def _landed(context: dg.AssetExecutionContext, account: Account) -> set[str]:
    """Return what this step, earlier attempts included, has brought to the warehouse."""
    entries = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    keys = {entry.dagster_event.asset_key for entry in entries if entry.dagster_event}
    return {resource.name for resource in account.resources if asset_key(account, resource.name) in keys}
