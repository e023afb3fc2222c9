"""Everything that knows Dagster: assets, checks, jobs, schedules, sensors, resources."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from crm_assets.account import Account

__all__ = ["build_defs"]


def build_defs(account: "Account") -> "dg.Definitions":
    """Return the assets, checks, jobs, schedules, sensors and resources of `account`.

    All names carry the account's, and the executor is on the jobs, so that the result merges with any other
    definitions: `dg.Definitions.merge(mine, build_defs(acme), build_defs(globex))`.

    Raises:
        SettingError: a cron cannot be used.
    """
    # Only here: Dagster's webserver and daemon import this package for the storage of their history alone.
    from crm_assets.orchestration.definitions import definitions_of

    return definitions_of(account)
