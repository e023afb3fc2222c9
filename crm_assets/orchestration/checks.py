"""What must hold of a table, as Dagster's asset checks: their specs, and their evaluation."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from crm_assets.account import Account
from crm_assets.models.by_products import REJECTED_TABLE
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.metadata import row_table
from crm_assets.quality.checks import ADVICE, CHECKS, CheckContext, CheckOutcome, checks_of, evaluate_check
from crm_assets.quality.table_probe import TableProbe

if TYPE_CHECKING:
    from crm_assets.load.warehouse import OpenWarehouse

LOADS = 6
"""How many loads a check looks back upon, the latest included."""


def check_specs(account: Account) -> list[dg.AssetCheckSpec]:
    """Return the checks of every table of `account`."""
    return [
        dg.AssetCheckSpec(name, asset=asset_key(account, resource.name), description=_description(name))
        for resource in account.resources
        for name in checks_of(account, resource)
    ]


def _description(name: str) -> str:
    return f"{CHECKS[name].__doc__}\n\nIf it fails: {ADVICE[name]}"


def evaluate(
    account: Account,
    warehouse: "OpenWarehouse",
    keys: Collection[dg.AssetCheckKey],
    not_loaded: Collection[str] = (),
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks `keys` against the tables of `account`, each table measured once.

    Args:
        account: whose tables they are.
        warehouse: where the tables are, and the record of the loads.
        keys: the checks to evaluate.
        not_loaded: resources that this run should have loaded and could not. Their tables are checked as they are;
            of one that is not there, nothing is said beside the failed load.
    """
    from crm_assets.load.resource_loads import read_loads

    loads = read_loads(warehouse.sql, LOADS)
    primary_keys = {resource.name: resource.key for resource in account.resources}
    with_history = [name for name, settings in account.sync.items() if settings.history]
    last = {name: found[0] for name, found in loads.items()}
    probe = TableProbe(warehouse.sql, last, primary_keys, with_history)
    for resource in account.resources:
        key = asset_key(account, resource.name)
        names = [name for name in checks_of(account, resource) if dg.AssetCheckKey(key, name) in keys]
        if not names:
            continue
        settings = account.checks[resource.name]
        try:
            stats = probe.measure(resource)
            if resource.name in not_loaded and not stats.exists:
                continue
            context = CheckContext(resource, key.to_user_string(), stats, probe, loads.get(resource.name, ()), settings)
            outcomes = {name: evaluate_check(name, context) for name in names}
        except Exception as error:  # what a table has that no check foresaw says nothing of the others
            outcomes = dict.fromkeys(names, CheckOutcome(False, f"The table could not be checked: {error}"))
        for name, outcome in outcomes.items():
            yield _result(account, key, name, outcome)


def _result(account: Account, key: dg.AssetKey, name: str, outcome: CheckOutcome) -> dg.AssetCheckResult:
    counts = {what: count for what, count in outcome.counts.items() if count}
    metadata: dict[str, Any] = {"dataset": account.dataset, **counts}
    if outcome.failed_rows:
        metadata["failed_rows"] = row_table(outcome.head, outcome.failed_rows)
    if name == "rejected" and not outcome.passed:
        metadata[REJECTED_TABLE] = dg.MetadataValue.asset(asset_key(account, REJECTED_TABLE))
    if outcome.sql and not outcome.passed:  # it is long, and Dagster keeps every evaluation for good
        metadata["sql"] = dg.MetadataValue.md(f"```sql\n{outcome.sql}\n```")
    return dg.AssetCheckResult(
        passed=outcome.passed,
        asset_key=key,
        check_name=name,
        severity=dg.AssetCheckSeverity[outcome.severity],
        description=outcome.description,
        metadata=metadata,
    )
