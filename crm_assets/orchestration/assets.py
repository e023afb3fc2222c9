"""The assets of an account: one subsettable multi-asset, so that one run fetches at once and loads at once."""

from collections.abc import Iterator

import dagster as dg
import dlt
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.orchestration.checks import check_specs
from crm_assets.orchestration.code_references import code_references
from crm_assets.orchestration.freshness import freshness
from crm_assets.orchestration.imports import keep_imports
from crm_assets.orchestration.keys import api_asset_key, api_resource, asset_key, warehouse_resource
from crm_assets.orchestration.metadata import address, declared_schema
from crm_assets.orchestration.schedules import crons


def api_asset(account: Account) -> dg.AssetSpec:
    """Return the CRM itself, upstream of all tables."""
    return dg.AssetSpec(
        api_asset_key(account),
        description="The CRM itself, behind its REST API. Upstream of all tables; nothing here changes it.",
        group_name=account.name,
        owners=account.crm.owners,
        kinds={"api"},
        metadata={"address": address(account)},
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
    def sync(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Fetch all selected resources at once, load all complete listings together, check each table."""
        if context.selected_asset_keys:  # after a run of checks alone DuckDB would complain of what is not collected
            keep_imports()
        # Only in a run: a code location loads without pyarrow, DuckDB and dlt's rest_api.
        from crm_assets.orchestration import sync as step

        yield from step.sync(
            context,
            getattr(context.resources, api_resource(account)),
            getattr(context.resources, warehouse_resource(account)),
        )

    return sync


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
                description=_description(resource),
                group_name=account.name,
                owners=account.crm.owners,
                tags={"source": account.name, "cadence": resource.cadence},
                kinds={"dlt", account.warehouse.destination},
                skippable=True,
                freshness_policy=freshness(self._crons[resource.cadence]),
                metadata={
                    "dagster/column_schema": declared_schema(resource),
                    "dagster/code_references": code_references(account, resource),
                    "endpoint": _endpoint(account, resource),
                },
            )
        )


def _specs(account: Account) -> list[dg.AssetSpec]:
    translator = _Translator(account)
    resources = [dlt.resource([], name=resource.name) for resource in account.resources]
    return [translator.get_asset_spec(DltResourceTranslatorData(resource=one, pipeline=None)) for one in resources]


def _description(resource: Resource) -> str:
    if resource.model and resource.model.__doc__:
        return resource.model.__doc__
    of_each = f", for each record of {' and '.join(resource.parents)}" if resource.parents else ""
    return f"What the API answers to {resource.endpoint['method']} {resource.endpoint['path']}{of_each}."


def _endpoint(account: Account, resource: Resource) -> dg.MetadataValue:
    path, *others = dict.fromkeys(part.endpoint["path"] for part in resource.parts)
    if others or account.crm.base_url is None or account.is_sandbox:
        return dg.MetadataValue.text(", ".join([path, *others]))
    return dg.MetadataValue.url(path if "://" in path else f"{account.crm.base_url}/{path.lstrip('/')}")
