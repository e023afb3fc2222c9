"""What must hold of a table, as Dagster's asset checks: their specs, and their evaluation."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg

from crm_assets.account import Account
from crm_assets.orchestration.keys import asset_key
from crm_assets.quality.checks import CHECKS, CheckContext, CheckOutcome, checks_of, evaluate_check
from crm_assets.quality.loads import Load
from crm_assets.quality.table_probe import TableProbe

if TYPE_CHECKING:
    from crm_assets.load.warehouse import OpenWarehouse

_OF_A_LOAD = {"dagster/table_name", "load_id", "records", "fields", "repeated_ids"}
LOADS = 6
"""How many loads a check looks back upon, the latest included."""


def check_specs(account: Account) -> list[dg.AssetCheckSpec]:
    """Return the checks of every table of `account`."""
    return [
        dg.AssetCheckSpec(name, asset=asset_key(account, resource.name), description=CHECKS[name].__doc__)
        for resource in account.resources
        for name in checks_of(resource)
    ]


def evaluate(
    account: Account,
    warehouse: "OpenWarehouse",
    instance: dg.DagsterInstance,
    keys: Collection[dg.AssetCheckKey],
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks `keys` against the tables of `account`, each table measured once.

    Args:
        account: whose tables they are. Loads into other datasets than its own do not count.
        warehouse: where the tables are.
        instance: has the record of earlier loads.
        keys: the checks to evaluate.
    """
    probe = TableProbe.of(warehouse.sql)
    for resource in account.resources:
        key = asset_key(account, resource.name)
        names = [name for name in checks_of(resource) if dg.AssetCheckKey(key, name) in keys]
        if not names:
            continue
        loads = loads_of(instance, account, resource.name)
        stats = probe.measure(resource, loads[0].load_id if loads else None)
        settings = account.checks[resource.name]
        context = CheckContext(resource, key.to_user_string(), stats, probe, loads, settings)
        for name in names:
            yield _result(key, name, evaluate_check(name, context))


def loads_of(instance: dg.DagsterInstance, account: Account, resource: str) -> list[Load]:
    """Return the last loads of `resource` into the dataset of `account`, the latest first."""
    return list(islice(_loads(instance, account, resource), LOADS))


def _loads(instance: dg.DagsterInstance, account: Account, resource: str) -> Iterator[Load]:
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(asset_key(account, resource), limit=LOADS, cursor=cursor)
        for record in page.records:
            metadata = record.asset_materialization.metadata if record.asset_materialization else {}
            # A materialization that somebody reported by hand is not a load.
            if metadata.keys() >= _OF_A_LOAD:
                values = _values(metadata)
                if values["dagster/table_name"].endswith(f".{account.dataset}.{resource}"):
                    yield _load(values)
        if not page.has_more:
            return
        cursor = page.cursor


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _load(value: dict[str, Any]) -> Load:
    return Load(
        load_id=value["load_id"],
        records=value["records"],
        rows=value["rows_loaded"],
        rejected=value["rows_rejected"],
        table_rows=value["dagster/row_count"],
        repeated_ids=value["repeated_ids"],
        moved_ids=value.get("moved_ids", []),
        gone=value.get("rows_missing", 0),
        rows_before=value.get("rows_before", 0),
        deletes_blocked=value.get("deletes_blocked", False),
        short=value.get("listing_is_short", False),
        fields=value["fields"],
    )


def _result(key: dg.AssetKey, name: str, outcome: CheckOutcome) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = dict(outcome.counts)
    if outcome.failed_rows:
        metadata["failed_rows"] = dg.MetadataValue.md(_markdown(outcome.head, outcome.failed_rows))
    if outcome.sql:
        metadata["sql"] = dg.MetadataValue.md(f"```sql\n{outcome.sql}\n```")
    return dg.AssetCheckResult(
        passed=outcome.passed,
        asset_key=key,
        check_name=name,
        severity=dg.AssetCheckSeverity[outcome.severity],
        description=outcome.description,
        metadata=metadata,
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
