"""What stands for an account that cannot be loaded, so that its writer sees why, and other accounts go on."""

import re

import dagster as dg

from crm_assets.errors import ApiConfigError, SettingError

_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
"""What no name in Dagster may have."""


def unusable_account(name: str, error: ApiConfigError | SettingError) -> dg.Definitions:
    """Return definitions that say `error`: at once in the log, in the UI, and when they are run.

    Args:
        name: name of the account.
        error: what is wrong with its API or its settings.
    """
    cause = "its API has an error" if isinstance(error, ApiConfigError) else "a setting cannot be used"
    why = f"The account {name} cannot be loaded: {cause}.\n{error}"
    dg.get_dagster_logger().error(why)
    name = _NO_NAME.sub("_", name)

    @dg.asset(name=f"{name}_api", group_name=name, kinds={"api"}, description=f"{why}\n\nCorrect it, and reload.")
    def crm_api() -> None:
        raise dg.Failure(why)

    job = dg.define_asset_job(f"{name}_all", dg.AssetSelection.assets(crm_api), description=why)
    return dg.Definitions(assets=[crm_api], jobs=[job])
