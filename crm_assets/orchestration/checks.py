"""What must hold of a table, as Dagster's asset checks: their specs, and their evaluation."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from crm_assets.models import MODELS
from crm_assets.orchestration.keys import asset_key
from crm_assets.quality.checks import CHECKS, CheckContext, CheckOutcome, checks_of, evaluate_check
from crm_assets.quality.loads import Load
from crm_assets.quality.table_probe import TableProbe
from crm_assets.settings import CheckSettings

_EVIDENCE = {"dagster/table_name", "load_id", "records", "fields", "repeated_ids"}
LOADS = 6
"""How many loads a check looks back upon, the latest included."""


def check_specs() -> list[dg.AssetCheckSpec]:
    """Return the checks of every table."""
    return [
        dg.AssetCheckSpec(name, asset=asset_key(resource), description=CHECKS[name].__doc__)
        for resource in MODELS
        for name in checks_of(resource)
    ]


def evaluate(
    probe: TableProbe, dataset: str, instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks `keys` against the tables of `dataset`, each table looked at once.

    Args:
        probe: looks at the tables.
        dataset: schema of the tables: loads into others do not count as context.
        instance: has the record of earlier loads.
        keys: the checks to evaluate.
    """
    for resource in MODELS:
        key = asset_key(resource)
        names = [name for name in checks_of(resource) if dg.AssetCheckKey(key, name) in keys]
        if not names:
            continue
        loads = loads_of(instance, resource, dataset)
        stats = probe.measure(resource, loads[0].load_id if loads else None)
        context = CheckContext(resource, stats, probe, loads, CheckSettings.for_resource(resource))
        for name in names:
            yield _result(key, name, evaluate_check(name, context))


def loads_of(instance: dg.DagsterInstance, resource: str, dataset: str) -> list[Load]:
    """Return the last loads of `resource` into `dataset`, the latest first."""
    records = instance.fetch_materializations(asset_key(resource), limit=LOADS).records
    found = [record.asset_materialization.metadata for record in records if record.asset_materialization]
    # A materialization that somebody reported by hand is no context of a load.
    values = [_values(metadata) for metadata in found if metadata.keys() >= _EVIDENCE]
    return [_load(value) for value in values if value["dagster/table_name"].endswith(f".{dataset}.{resource}")]


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
        gone=value.get("rows_gone", 0),
        rows_before=value.get("rows_before", 0),
        deletes_blocked=value.get("deletes_held_back", False),
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
