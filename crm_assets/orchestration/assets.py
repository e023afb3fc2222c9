"""The eleven assets: one subsettable multi-asset, so that one run fetches at once and loads at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData
from dlt.common.destination import Destination

from crm_assets.apis.api_config import Endpoint
from crm_assets.errors import CrmAssetsError, DiskError, WarehouseError
from crm_assets.extract.connection import Connection
from crm_assets.extract.fetch import Fetched, Listings, PartialSyncError, ReadFailure, fetch
from crm_assets.extract.listing import ReadOptions
from crm_assets.extract.progress import ProgressListener, listener_or_log
from crm_assets.extract.source import TABLES, crm_resources
from crm_assets.extract.working_directory import working_directory
from crm_assets.load.scd2 import history_table
from crm_assets.load.tables import facts
from crm_assets.models import MODELS
from crm_assets.orchestration.checks import check_specs, evaluate
from crm_assets.orchestration.freshness import crons, freshness
from crm_assets.orchestration.keys import GROUP, asset_key
from crm_assets.orchestration.metadata import declared_schema, materialization_metadata
from crm_assets.orchestration.resources import CrmApi, Warehouse
from crm_assets.orchestration.run_reaper import process_tags
from crm_assets.project import data_directory, exposed_secrets
from crm_assets.quality.table_probe import TableProbe
from crm_assets.settings import AutomationSettings, CheckSettings

OWNERS = ["team:crm"]
TABLE = TABLES["v1"]
CRONS = crons(AutomationSettings.read())
"""When each cadence is due."""
POOL = "crm"
"""Of this pool, Dagster's queue starts one run at a time: the CRM is never asked for one table by two."""
MOST_RETRIES = 1
"""How often a step tries again what did not land because the CRM or the warehouse was busy."""
RETRY_PAUSE = 5.0
"""Seconds before it does."""

crm_api_asset = dg.AssetSpec(
    "crm_api",
    description="The CRM itself, behind its REST API. Upstream of all tables; nothing here changes it.",
    group_name=GROUP,
    kinds={"api"},
)


class CrmTranslator(DagsterDltTranslator):
    """Names, groups and describes each dlt resource of the CRM as an asset."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """Return the asset of one resource."""
        name = data.resource.name
        row = next(row for row in TABLE["resources"] if row["name"] == name)
        endpoint = row["endpoint"]
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(
            key=asset_key(name),
            deps=[crm_api_asset.key],
            description=MODELS[name].__doc__,
            group_name=GROUP,
            owners=OWNERS,
            tags={"source": "crm", "cadence": row["cadence"]},
            kinds={"dlt", dlt.config.get("warehouse.destination") or "duckdb"},
            skippable=True,
            freshness_policy=freshness(CRONS[row["cadence"]]),
            metadata={
                "dagster/column_schema": declared_schema(name),
                "endpoint": _link(endpoint),
            },
        )


def _link(endpoint: Endpoint) -> dg.MetadataValue:
    base_url: Any = dlt.config.get("sources.crm.base_url")
    if not isinstance(base_url, str) or not base_url.startswith("http"):
        return dg.MetadataValue.text(endpoint["path"])
    return dg.MetadataValue.url(base_url.rstrip("/") + endpoint["path"])


def _specs() -> list[dg.AssetSpec]:
    nowhere = Connection("https://crm.invalid", email="", api_key="")
    resources, _ = crm_resources(TABLE, nowhere)
    translator = CrmTranslator()
    return [translator.get_asset_spec(DltResourceTranslatorData(resource=one, pipeline=None)) for one in resources]


@dg.multi_asset(name="crm", specs=_specs(), check_specs=check_specs(), can_subset=True, pool=POOL)
def crm(
    context: dg.AssetExecutionContext, crm_api: CrmApi, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Fetch all selected resources at once, load all complete listings together, judge each table."""
    context.instance.add_run_tags(context.run.run_id, process_tags(context.run.run_id))
    listener = listener_or_log(context.log.info)
    wanted = _wanted(context)
    listings = Listings()
    options: dict[str, ReadOptions] = {}
    if warning := exposed_secrets():
        listener.say(warning)
    try:
        for name in wanted:
            CheckSettings.for_resource(name)  # a threshold that cannot be is said before anything is loaded
        with (
            working_directory(data_directory() / "runs", context.run.run_id) as directory,
            warehouse.table_locks(wanted, listener.say),
        ):
            warehouse.prune_checkpoints()
            if wanted:
                with crm_api.connection() as connection:
                    options = {name: warehouse.options(name, connection, directory) for name in wanted}
                    listings = fetch(crm_api.table(), connection, options, listener)
            if listings.complete or not wanted:
                with warehouse.open(listener.say) as destination:
                    with warehouse.probe(destination, directory) as probe:
                        _refuse_type_conflicts(probe, listings)
                    yield from _load(warehouse, destination, listings.complete, directory)
                    with warehouse.probe(destination, directory) as probe:
                        keys = _checks(context, listings)
                        yield from evaluate(probe, warehouse.dataset_name(), context.instance, keys)
        if listings.failed:
            raise PartialSyncError(listings, _landed(context) | {one.resource for one in listings.complete})
    except (CrmAssetsError, OSError) as problem:
        error = DiskError.of(problem, "working") if isinstance(problem, OSError) else problem
        if isinstance(error, DiskError):
            for one in options.values():
                one.checkpoints.clear()
        raise _end_of_attempt(context, error, listener) from error


def _end_of_attempt(
    context: dg.AssetExecutionContext, error: CrmAssetsError, listener: ProgressListener
) -> dg.RetryRequested | dg.Failure:
    """Return what Dagster is told: to try once more, or what failed and why."""
    # Not a RetryPolicy: Dagster would take a cancelled run for one worth trying again.
    if error.worth_retrying and context.retry_number < MOST_RETRIES:
        listener.say(f"{error}\nTrying once more in {RETRY_PAUSE:g} s.")
        return dg.RetryRequested(MOST_RETRIES, RETRY_PAUSE)
    reasons = error.reasons if isinstance(error, PartialSyncError) else {}
    metadata = {"reason": dg.MetadataValue.text(error.reason), "reasons": dg.MetadataValue.json(reasons)}
    return dg.Failure(str(error), metadata=metadata, allow_retries=False)


def _load(
    warehouse: Warehouse, destination: Destination[Any, Any], complete: Sequence[Fetched], directory: Path
) -> Iterator[dg.MaterializeResult[None]]:
    if not complete:
        return
    loaded = warehouse.load(destination, [one.spooled for one in complete], directory)
    for one in complete:
        one.checkpoints.clear()
    tables = facts(loaded.pipeline, [one.resource for one in complete], loaded.load_id)
    for one in complete:
        metadata = materialization_metadata(one, loaded, tables[one.resource])
        yield dg.MaterializeResult(asset_key=asset_key(one.resource), metadata=metadata)


def _refuse_type_conflicts(probe: TableProbe, listings: Listings) -> None:
    """Move the listings whose table has a column of another type than the model says to those that failed."""
    for one in list(listings.complete):
        found, remedy = probe.type_conflicts(one.resource, [one.resource, history_table(one.resource)])
        if found:
            error = WarehouseError(
                f"{one.resource}: {'; '.join(found)}. Its table is untouched. "
                f"Make room in the warehouse, and the next run fills the new column: {remedy}"
            )
            listings.complete.remove(one)
            listings.failed.append(ReadFailure(one.resource, error))
            one.checkpoints.clear()


def _checks(context: dg.AssetExecutionContext, listings: Listings) -> set[dg.AssetCheckKey]:
    """The selected checks, but for the tables that this run should have loaded and could not."""
    failed = {asset_key(one.resource) for one in listings.failed}
    return {key for key in context.selected_asset_check_keys if key.asset_key not in failed}


def _wanted(context: dg.AssetExecutionContext) -> list[str]:
    selected = [key.path[-1] for key in context.selected_asset_keys]
    landed = _landed(context) if context.retry_number else set()
    return [name for name in MODELS if name in selected and name not in landed]


def _landed(context: dg.AssetExecutionContext) -> set[str]:
    """What an earlier attempt of this step has brought to the warehouse already."""
    entries = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {
        entry.dagster_event.asset_key.path[-1]
        for entry in entries
        if entry.dagster_event and entry.dagster_event.asset_key
    }
