"""The jobs of an account. `schedules.py` says when they run."""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import CADENCES, Cadence
from crm_assets.orchestration.keys import asset_key, cadence_job, checks_job, host_tags, main_job
from crm_assets.orchestration.run_reaper import job_tags


def build_jobs(account: Account) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs of `account`: all resources, one for each cadence, and the checks alone."""
    everything = ", ".join(resource.name for resource in account.resources)
    loads = [_load_job(main_job(account), account, account.resources, f"Loads and checks all tables: {everything}.")]
    loads += [
        _load_job(cadence_job(account, cadence), account, found, f"Loads and checks {names_of(found)}.")
        for cadence in CADENCES
        if (found := of_cadence(account, cadence))
    ]
    return [*loads, checks_only_job(account, account.resources)]


def checks_only_job(account: Account, resources: Iterable[Resource]) -> UnresolvedAssetJobDefinition:
    """Return the job that checks the tables of `resources` and loads nothing."""
    keys = [asset_key(account, resource.name) for resource in resources]
    return dg.define_asset_job(
        checks_job(account),
        selection=dg.AssetSelection.checks_for_assets(*keys),
        executor_def=dg.in_process_executor,
        run_tags={**job_tags(account), **host_tags(account)},
        description="Checks all tables without loading anything.",
    )


def _load_job(
    name: str, account: Account, resources: Iterable[Resource], description: str
) -> UnresolvedAssetJobDefinition:
    keys = [asset_key(account, resource.name) for resource in resources]
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
        # One step: a process of its own for it would only cost time.
        executor_def=dg.in_process_executor,
        run_tags={**job_tags(account), **host_tags(account)},
        description=description,
    )


def of_cadence(account: Account, cadence: Cadence) -> list[Resource]:
    """Return the resources of one cadence."""
    return [resource for resource in account.resources if resource.cadence == cadence]


def names_of(resources: Iterable[Resource]) -> str:
    """Return the names of `resources` as text."""
    return ", ".join(resource.name for resource in resources)
