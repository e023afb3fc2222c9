"""The names by which Dagster knows the assets. Users and scripts depend on them."""

import dagster as dg

GROUP = "crm"


def asset_key(resource: str) -> dg.AssetKey:
    """Return the key of the asset that holds `resource`."""
    return dg.AssetKey([GROUP, resource])
