"""Read the latest results of all checks from Dagster's instance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg

from crm_assets.account import Account
from crm_assets.apis.resources import Resource
from crm_assets.orchestration.keys import asset_key
from crm_assets.quality.checks import checks_of

HISTORY = 20
"""How many evaluations and materializations a report looks back upon."""

State = Literal["passed", "WARN", "ERROR"]


@dataclass(frozen=True)
class CheckResult:
    """The latest evaluation of one check. `history` holds the states of the last ones, the oldest first."""

    name: str
    passed: bool
    severity: Literal["WARN", "ERROR"]
    description: str
    evaluated_at: datetime
    since: datetime
    """Since when it has been in this state."""
    metadata: dict[str, Any]
    history: Sequence[State]

    @property
    def state(self) -> State:
        """`passed`, or how bad the failure is."""
        return "passed" if self.passed else self.severity


@dataclass(frozen=True)
class AssetResult:
    """One asset and its checks. `row_history` holds the rows after the last loads, the oldest first."""

    key: str
    table: str | None
    rows: int | None
    last_materialized: datetime | None
    row_history: Sequence[int]
    checks: Sequence[CheckResult]

    @property
    def state(self) -> State:
        """The worst state of its checks."""
        states = {check.state for check in self.checks}
        return "ERROR" if "ERROR" in states else "WARN" if "WARN" in states else "passed"


@dataclass(frozen=True)
class Report:
    """All assets that were ever loaded or checked."""

    generated_at: datetime
    assets: Sequence[AssetResult]

    @property
    def ok(self) -> bool:
        """Whether no check fails with ERROR."""
        return not any(asset.state == "ERROR" for asset in self.assets)


def collect(instance: dg.DagsterInstance, accounts: Sequence[Account], resources: Sequence[str] = ()) -> Report:
    """Return the latest results of the checks of `resources`, or of all, that `instance` knows.

    Raises:
        ApiConfigError: names the resource that an account does not have.
    """
    assets = [_asset(instance, account, resource) for account in accounts for resource in account.select(resources)]
    known = [asset for asset in assets if asset.checks or asset.last_materialized]
    return Report(datetime.now(UTC).replace(microsecond=0), known)


def only_failures(report: Report) -> Report:
    """Return `report` without the checks that passed and the assets that then have none."""
    assets = [
        AssetResult(
            asset.key,
            asset.table,
            asset.rows,
            asset.last_materialized,
            asset.row_history,
            [check for check in asset.checks if not check.passed],
        )
        for asset in report.assets
        if asset.state != "passed"
    ]
    return Report(report.generated_at, assets)


def _asset(instance: dg.DagsterInstance, account: Account, resource: Resource) -> AssetResult:
    key = asset_key(account, resource.name)
    records = instance.fetch_materializations(key, limit=HISTORY).records
    loads = [record for record in records if record.asset_materialization]
    metadata = [_values(one.asset_materialization.metadata) for one in loads if one.asset_materialization]
    counts = [one["dagster/row_count"] for one in metadata if "dagster/row_count" in one]
    checks = [_check(instance, dg.AssetCheckKey(key, name)) for name in checks_of(account, resource)]
    return AssetResult(
        key=key.to_user_string(),
        table=metadata[0].get("dagster/table_name") if metadata else None,
        rows=counts[0] if counts else None,
        last_materialized=_moment(loads[0].timestamp) if loads else None,
        row_history=counts[::-1],
        checks=[check for check in checks if check],
    )


def _check(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> CheckResult | None:
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=HISTORY)
    events = [(record.event.timestamp, record.event.dagster_event) for record in records if record.event]
    found = [
        (moment, event.asset_check_evaluation_data)
        for moment, event in events
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    if not found:
        return None
    states: list[State] = ["passed" if one.passed else one.severity.value for _, one in found]
    streak = next((index for index, state in enumerate(states) if state != states[0]), len(states))
    moment, latest = found[0]
    return CheckResult(
        name=key.name,
        passed=latest.passed,
        severity=latest.severity.value,
        description=latest.description or "",
        evaluated_at=_moment(moment),
        since=_moment(found[streak - 1][0]),
        metadata=_values(latest.metadata),
        history=states[::-1],
    )


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC).replace(microsecond=0)
