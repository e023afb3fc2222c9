"""How each account stands: whether it can be loaded, when that last happened, and whether it is late."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from crm_assets.account import Account
from crm_assets.errors import CrmAssetsError, SettingError
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.run import State
from crm_assets.orchestration.run_history import last_loads
from crm_assets.report.collect import freshness_of, policies
from crm_assets.report.results import Freshness


@dataclass(frozen=True)
class AccountState:
    """One account."""

    name: str
    state: State
    said: str
    """In words, what is wrong; `loaded` if nothing is."""
    loaded_at: datetime | None = None
    """When the table was loaded whose last load is longest ago; None if one never was."""
    freshness: Freshness | None = None
    """Of that table; None if no running schedule loads it."""
    dataset: str | None = None


def account_states(
    instance: dg.DagsterInstance, accounts: Sequence[Account], unusable: Mapping[str, CrmAssetsError]
) -> list[AccountState]:
    """Return how `accounts`, and those that are `unusable`, stand by Dagster's history; no CRM is asked."""
    schedules = instance.all_instigator_state() if instance.schedule_storage else ()
    switched = {one.name: one.status for one in schedules}
    now = datetime.now(UTC)
    states = [_broken(name, error) for name, error in unusable.items()]
    for account in accounts:
        try:
            states.append(_state(instance, account, switched, now))
        except SettingError as error:  # a cron, which only its schedules read
            states.append(_broken(account.name, error))
    return sorted(states, key=lambda one: one.name)


def _broken(name: str, error: CrmAssetsError) -> AccountState:
    return AccountState(name, "ERROR", " ".join(str(error).split()))


def _state(
    instance: dg.DagsterInstance, account: Account, switched: Mapping[str, object], now: datetime
) -> AccountState:
    loads = last_loads(instance, account)
    keys = {asset_key(account, resource.name): resource.name for resource in account.resources}
    landed = {
        keys[record.asset_entry.asset_key]: datetime.fromtimestamp(
            record.asset_entry.last_materialization.timestamp, UTC
        )
        for record in instance.get_asset_records(list(keys))
        if record.asset_entry.last_materialization
    }
    failed = [name for name, load in loads.items() if load.ending == "failed"]
    never = [name for name in keys.values() if name not in landed]
    limits = policies(account, switched)
    ages = [one for name in landed if (one := freshness_of(landed[name], limits.get(name), now))]
    oldest = max(ages, key=lambda one: one.age / one.limit, default=None)
    state, said = _judged(failed, never, oldest, is_empty=not landed)
    if any(load.ending == "running" for load in loads.values()):
        said = f"{said}; being loaded"
    last = min(landed.values()) if landed and not never else None
    return AccountState(account.name, state, said, last, oldest, account.dataset)


def _judged(
    failed: Sequence[str], never: Sequence[str], oldest: Freshness | None, *, is_empty: bool
) -> tuple[State, str]:
    if failed:
        return "ERROR", f"did not load: {', '.join(failed)}"
    if is_empty:
        return "WARN", "was never loaded"
    if never:
        return "WARN", f"were never loaded: {', '.join(never)}"
    if oldest and oldest.state != "passed":
        return oldest.state, "stale" if oldest.state == "ERROR" else "late"
    return "passed", "loaded"
