"""What a load writes beside the tables, as assets: the rejected records, and the history of each resource that has one.

No run selects them: they are external assets, and the step that loads their sources says when it wrote them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from crm_assets.account import Account
from crm_assets.models.by_products import (
    HISTORY_COLUMNS,
    LOAD_COLUMN,
    REJECTED_COLUMNS,
    REJECTED_TABLE,
    history_table,
)
from crm_assets.models.columns import Column
from crm_assets.orchestration.keys import asset_key
from crm_assets.orchestration.metadata import row_table, table_location, table_schema

if TYPE_CHECKING:
    from crm_assets.load.load import Loaded
    from crm_assets.load.warehouse import OpenWarehouse


def by_product_specs(account: Account) -> list[dg.AssetSpec]:
    """Return the assets of what the loads of `account` write beside its tables."""
    names = [resource.name for resource in account.resources]
    rejected = "The records that could not be rows of their tables: each whole, with the reason."
    specs = [_spec(account, REJECTED_TABLE, names, rejected, REJECTED_COLUMNS)]
    for resource in account.resources:
        if account.sync[resource.name].history:
            description = f"Every version of each record of {resource.name}, from {{}} to {{}}."
            columns = [*resource.columns, *HISTORY_COLUMNS]
            described = description.format(*(f"`{column.name}`" for column in HISTORY_COLUMNS[:2]))
            specs.append(_spec(account, history_table(resource.name), [resource.name], described, columns))
    return specs


def by_product_events(warehouse: "OpenWarehouse", loaded: "Loaded") -> Iterator[dg.AssetMaterialization]:
    """Yield what the load `loaded` wrote beside the tables."""
    from crm_assets.load.tables import rejected_rows, table_counts

    account = warehouse.account
    counts: list[tuple[str, dict[str, Any]]] = []
    if rejected := sum(listing.rejected_rows for listing in loaded.listings.values()):
        head, rows = rejected_rows(warehouse.sql, loaded.load_id)
        counts.append((REJECTED_TABLE, {"rows_new": rejected, "preview": row_table(head, rows)}))
    counts += [(history_table(name), {}) for name in loaded.listings if account.sync[name].history]
    for table, metadata in counts:
        found = table_counts(warehouse.sql, table, loaded.load_id)
        new = {"rows_new": found.rows_of_load} if found.rows_of_load else {}
        yield dg.AssetMaterialization(
            asset_key(account, table),
            metadata={
                "dagster/row_count": found.rows,
                **new,
                **metadata,
                **table_location(found, warehouse),
                "load_id": dg.MetadataValue.text(loaded.load_id),
            },
        )


def _spec(
    account: Account, table: str, sources: Sequence[str], description: str, columns: Sequence[Column]
) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(account, table),
        deps=[asset_key(account, name) for name in sources],
        description=description,
        group_name=account.name,
        owners=account.crm.owners,
        tags={"source": account.name},
        kinds={"dlt", account.warehouse.destination},
        metadata={"dagster/column_schema": table_schema([*columns, LOAD_COLUMN])},
    )
