"""A lake of one test, looked at from outside: through `deltalake` and pyarrow, as its readers do."""

import json
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

TYPE = b"crm_assets.type"


class LakeUnderTest:
    """Delta tables in a folder.

    Args:
        path: the folder, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which the project loads into it."""
        return {"WAREHOUSE__DESTINATION": "filesystem", "DESTINATION__FILESYSTEM__BUCKET_URL": str(self.path)}

    def table(self, dataset: str, table: str) -> DeltaTable:
        """Return `table` as it is now."""
        return DeltaTable(self.path / dataset / table)

    def tables(self, dataset: str) -> dict[str, int]:
        """Return the number of rows of each table of `dataset` but dlt's own and the record of the loads."""
        folder = self.path / dataset
        names = sorted(one.name for one in folder.iterdir() if (one / "_delta_log").is_dir()) if folder.is_dir() else []
        ours = [name for name in names if not name.startswith("_dlt") and name != "resource_loads"]
        return {name: self.table(dataset, name).to_pyarrow_dataset().count_rows() for name in ours}

    def rows(self, dataset: str, table: str) -> list[dict[str, Any]]:
        """Return the rows of `table`, JSON parsed."""
        found = self.table(dataset, table).to_pyarrow_table()
        parsed = {field.name for field in found.schema if _is_json(field)}
        return [
            {name: json.loads(value) if name in parsed and value is not None else value for name, value in row.items()}
            for row in found.to_pylist()
        ]

    def types(self, dataset: str, table: str) -> dict[str, str]:
        """Return the types of the columns of `table`, as Delta or else the column's metadata calls them."""
        fields = self.table(dataset, table).schema().fields
        return {field.name: str(field.metadata.get(TYPE.decode()) or field.type.type) for field in fields}


def _is_json(field: Any) -> bool:
    return bool((field.metadata or {}).get(TYPE) == b"JSON")
