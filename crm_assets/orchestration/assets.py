"""The assets of an account: one subsettable multi-asset, so that one run fetches at once and loads at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import dlt
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData

from crm_assets.account import Account
from crm_assets.apis.resources import Resource
from crm_assets.errors import CrmAssetsError, DiskError, PartialSyncError
from crm_assets.extract.fetch import Fetched, Listings, fetch
from crm_assets.extract.progress import ProgressListener, listener_or_log
from crm_assets.extract.working_directory import working_directory
from crm_assets.load.load import Loaded
from crm_assets.load.table_locks import table_locks
from crm_assets.load.tables import facts
from crm_assets.orchestration.checks import check_specs, evaluate
from crm_assets.orchestration.freshness import crons, freshness
from crm_assets.orchestration.keys import api_asset_key, api_resource, asset_key, warehouse_resource
from crm_assets.orchestration.metadata import declared_schema, materialization_metadata
from crm_assets.orchestration.resources import CrmApi, Warehouse
from crm_assets.orchestration.run_history import failure
from crm_assets.orchestration.run_reaper import tag_process
from crm_assets.project import exposed_secrets

OWNERS = ["team:crm"]
MAX_RETRIES = 1
"""How often a step tries once more what did not load because the CRM or the warehouse was busy."""

Result = dg.MaterializeResult[None] | dg.AssetCheckResult


def api_asset(account: Account) -> dg.AssetSpec:
    """Return the CRM itself, upstream of all tables."""
    return dg.AssetSpec(
        api_asset_key(account),
        description="The CRM itself, behind its REST API. Upstream of all tables; nothing here changes it.",
        group_name=account.name,
        kinds={"api"},
    )


def tables_asset(account: Account) -> dg.AssetsDefinition:
    """Return the tables of `account` as one multi-asset.

    Raises:
        SettingError: a cron cannot be used.
    """

    @dg.multi_asset(
        name=account.name,
        specs=_specs(account),
        check_specs=check_specs(account),
        can_subset=True,
        # Of this pool, Dagster's queue starts one run at a time: the CRM is never asked for one table by two.
        pool=account.name,
        required_resource_keys={api_resource(account), warehouse_resource(account)},
    )
    def sync(context: dg.AssetExecutionContext) -> Iterator[Result]:
        """Fetch all selected resources at once, load all complete listings together, check each table."""
        crm_api: CrmApi = getattr(context.resources, api_resource(account))
        warehouse: Warehouse = getattr(context.resources, warehouse_resource(account))
        listener = listener_or_log(context.log.info)
        wanted = _wanted(context, account)
        with (
            _told_to_dagster(context, account, listener),
            working_directory(account, context.run.run_id) as directory,
            table_locks(account, wanted, listener.say),
        ):
            listings = Listings()
            if wanted:
                with crm_api.connect() as connection:
                    listings = fetch(account, wanted, connection, directory, listener)
            if listings.complete or not wanted:
                with warehouse.open(directory, listener.say) as opened:
                    listings = opened.refuse_conflicts(listings)
                    if listings.complete:
                        yield from _materializations(account, listings.complete, opened.load(listings.complete))
                    yield from evaluate(account, opened, context.instance, _checks(context, account, listings))
            if listings.failed:
                raise PartialSyncError(listings.failed, _landed(context, account))

    return sync


def _materializations(
    account: Account, fetched: Sequence[Fetched], loaded: Loaded
) -> Iterator[dg.MaterializeResult[None]]:
    tables = facts(loaded.pipeline, [one.resource for one in fetched], loaded.load_id)
    for one in fetched:
        metadata = materialization_metadata(one, loaded, tables[one.resource])
        yield dg.MaterializeResult(asset_key=asset_key(account, one.resource), metadata=metadata)


@contextmanager
def _told_to_dagster(context: dg.AssetExecutionContext, account: Account, listener: ProgressListener) -> Iterator[None]:
    """Let Dagster know which process works, and how the attempt ended: to try once more, or what failed and why."""
    tag_process(context)
    if warning := exposed_secrets():
        listener.say(warning)
    try:
        yield
    except (CrmAssetsError, OSError) as problem:
        error = DiskError.of(problem, "working") if isinstance(problem, OSError) else problem
        # Not a RetryPolicy: Dagster would take a cancelled run for one worth trying again.
        if error.worth_retrying and context.retry_number < MAX_RETRIES:
            listener.say(f"{error}\nTrying once more in {account.retry_pause:g} s.")
            raise dg.RetryRequested(MAX_RETRIES, account.retry_pause) from error
        raise failure(account, error) from error


def _checks(context: dg.AssetExecutionContext, account: Account, listings: Listings) -> set[dg.AssetCheckKey]:
    """Return the selected checks, but for the tables that this run should have loaded and could not."""
    failed = {asset_key(account, name) for name in listings.failed}
    return {key for key in context.selected_asset_check_keys if key.asset_key not in failed}


def _wanted(context: dg.AssetExecutionContext, account: Account) -> list[Resource]:
    landed = _landed(context, account) if context.retry_number else set()
    return [
        resource
        for resource in account.resources
        if asset_key(account, resource.name) in context.selected_asset_keys and resource.name not in landed
    ]


def _landed(context: dg.AssetExecutionContext, account: Account) -> set[str]:
    """Return what this step, earlier attempts included, has brought to the warehouse."""
    entries = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    keys = {entry.dagster_event.asset_key for entry in entries if entry.dagster_event}
    return {resource.name for resource in account.resources if asset_key(account, resource.name) in keys}


class _Translator(DagsterDltTranslator):
    """Names, groups and describes each dlt resource of an account as an asset."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._crons = crons(account)

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """Return the asset of one resource."""
        account, resource = self._account, self._account.resource(data.resource.name)
        return (
            super()
            .get_asset_spec(data)
            .replace_attributes(
                key=asset_key(account, resource.name),
                deps=[api_asset_key(account)],
                description=resource.model.__doc__,
                group_name=account.name,
                owners=OWNERS,
                tags={"source": account.name, "cadence": resource.cadence},
                kinds={"dlt", account.warehouse.destination},
                skippable=True,
                freshness_policy=freshness(self._crons[resource.cadence]),
                metadata={
                    "dagster/column_schema": declared_schema(resource.columns),
                    "endpoint": _endpoint(account, resource),
                },
            )
        )


def _specs(account: Account) -> list[dg.AssetSpec]:
    translator = _Translator(account)
    resources = [dlt.resource([], name=resource.name) for resource in account.resources]
    return [translator.get_asset_spec(DltResourceTranslatorData(resource=one, pipeline=None)) for one in resources]


def _endpoint(account: Account, resource: Resource) -> dg.MetadataValue:
    path = resource.endpoint["path"]
    if account.crm.base_url is None or account.is_sandbox:
        return dg.MetadataValue.text(path)
    return dg.MetadataValue.url(account.crm.base_url + path)
