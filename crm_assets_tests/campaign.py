"""The sandbox's CRM as the model of the warehouse: what each table may hold after each run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crm_assets.extract.batches import Batcher
from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.sandbox_apis import LISTS_OF_PARENTS, RESOURCES_OF, children_in, parents_in, records_of
from crm_assets_tests.warehouses import AnyWarehouse

Row = tuple[Any, ...]
Table = dict[int, Row]
"""The rows by id; a record that the CRM does not have any more is not in it."""
MARK = "campaign"
"""A field that no model declares: another number for every version of every record."""


@dataclass
class Tally:
    """What a campaign has done so far."""

    runs: int = 0
    succeeded: int = 0
    kills: int = 0
    interrupts: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    moved: int = 0
    """Runs during which the CRM was changed."""
    comparisons: int = 0
    """Tables that were compared with the model, record by record."""
    differences: int = 0

    def write(self) -> None:
        """Write it to the file that `CAMPAIGN_TALLY` names, if it names one."""
        if file := os.environ.get("CAMPAIGN_TALLY"):
            Path(file).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class Model:
    """What the CRM has held, state after state.

    A listing that was read while the CRM stood still is one state. One that was read in two attempts,
    or while the CRM was changed, may have each record as it was at any moment in between.
    """

    def __init__(self, api: ApiName, sandbox: Sandbox, resources: Iterable[str]) -> None:
        self._api: ApiName = api
        self._sandbox = sandbox
        self._states: dict[str, list[Table]] = {resource: [] for resource in resources}
        self._began: dict[str, int | None] = dict.fromkeys(self._states)
        for resource in self._states:
            self.changed(resource)

    def changed(self, resource: str) -> None:
        """Take note of how the records of `resource` stand now, and those that are listed below them."""
        for one in (resource, *children_in(self._api, resource)):
            if one in self._states:
                records = list(records_of(self._api, self._sandbox, one))
                self._states[one].append(as_rows(self._api, one, records))

    def attempted(self, resources: Iterable[str]) -> None:
        """Take note that a listing of each of `resources` begins, unless one has begun that is gone on with."""
        for resource in resources:
            if self._began[resource] is None:
                self._began[resource] = len(self._states[resource]) - 1

    def landed(self, resource: str, since: int | None = None) -> list[Table]:
        """Return the states of which the table may be made, and forget how the listing began.

        Args:
            resource: name of the resource.
            since: the first of them, by its number; None for the one when the first attempt began.
        """
        first = self._began[resource] if since is None else since
        self._began[resource] = None
        return self._states[resource][first:]

    def states_of_attempt(self, resource: str) -> list[Table]:
        """Return the states since the listing that is not loaded yet began."""
        return self._states[resource][self._began[resource] :]

    def now(self, resource: str) -> int:
        """Return the number of the state as it is."""
        return len(self._states[resource]) - 1


def as_rows(api: ApiName, resource: str, records: list[Any]) -> Table:
    """Return `records` as the rows that they become."""
    columns = RESOURCES_OF[api][resource].columns
    batch, rejected = Batcher(resource, columns).batch(records)
    assert not rejected
    found = [row | {MARK: row.get(MARK) and int(row[MARK])} for row in batch.to_pylist()]
    rows = [tuple(_plain(row[name]) for name in _names(api, resource)) for row in found]
    return {int(row[0]): row for row in rows}


LISTED = "_deleted_at IS NULL AND _missing_since IS NULL"


def live_rows(
    api: ApiName, warehouse: AnyWarehouse, resource: str, table: str | None = None, where: str = LISTED
) -> Table | None:
    """Return the rows of a table whose records the last listing had; None if there is no such table."""
    columns = warehouse.columns(table or resource)
    if not columns:
        return None
    texts = {
        name: f'CAST("{name}" AS VARCHAR)' if kind.lower() == "json" else f'"{name}"' for name, kind in columns.items()
    }
    selected = ", ".join(texts.get(name, "NULL") for name in _names(api, resource))
    rows = warehouse.query(f'SELECT {selected} FROM crm."{table or resource}" WHERE {where}')
    found = {int(row[0]): tuple(map(_plain, row)) for row in rows}
    assert len(found) == len(rows), f"{table or resource} has an id twice"
    return found


def differences(api: ApiName, resource: str, table: Table, states: list[Table]) -> list[str]:
    """Return in what the rows of `table` differ from all of `states`.

    A list of parents may have some from one state and some from another.
    """
    ids = table.keys() | {record_id for state in states for record_id in state}
    fields = LISTS_OF_PARENTS.get(resource, {}).values() if parents_in(api, resource) else ()
    lists = [_names(api, resource).index(field) for field in fields]
    return [
        f"{record_id}: {table.get(record_id)} is none of {[state.get(record_id) for state in states]}"
        for record_id in sorted(ids)
        if not _is_one_of(table.get(record_id), [state.get(record_id) for state in states], lists)
    ]


def _is_one_of(row: Row | None, states: list[Row | None], lists: list[int]) -> bool:
    if row in states:
        return True
    if row is None or not lists or len(states) < 2:
        return False
    known = [state for state in states if state is not None]
    mixed = all(_members(row[place]) <= set().union(*(_members(one[place]) for one in known)) for place in lists)
    return mixed and _without(row, lists) in [_without(one, lists) for one in known]


def _members(text: str | None) -> set[str]:
    return set(json.loads(text) or ()) if text else set()


def _without(row: Row, places: list[int]) -> Row:
    return tuple(value for place, value in enumerate(row) if place not in places)


def _names(api: ApiName, resource: str) -> list[str]:
    """Return the columns that are compared."""
    return [*(column.name for column in RESOURCES_OF[api][resource].columns), MARK]


def _plain(value: Any) -> Any:
    return value.timestamp() if hasattr(value, "timestamp") else value
