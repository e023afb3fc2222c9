"""Random runs at the edges: names in any script, ids that cannot be read, cut listings, duplicates, another model."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import Field

from crm_assets.account import Account
from crm_assets.models.record import BigInt
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, an_account, declaring, run_assets
from crm_assets_tests.warehouses import DuckDbFile

COUNTS = dict.fromkeys(MODELS, 1) | {"contacts": 23, "notes": 12}
NAMES = (
    *("Имя", "Тип", "Город", "名前", "名", "Größe", "Grosse", "€", "%", "#", "price-", "price+", "price#", "price"),
    *(
        "fooBar",
        "foo_bar",
        "FooBar",
        "foo-bar",
        "FOO BAR",
        "_dlt_id",
        "other_fields",
        "_deleted_at",
        "",
        " ",
        "a" * 300,
    ),
)
"""Names of fields that no model declares."""
DECLARED_LATER = "customTier"
"""A field that one of the two models declares."""
UNREADABLE: tuple[dict[str, Any], ...] = ({}, {"id": None}, {"id": "12x"}, {"id": [1]}, {"id": ""})
RESOURCES = ("contacts", "notes")
resources, places = st.sampled_from(RESOURCES), st.integers(0, 10_000)
Table = dict[int, dict[str, Any]]


class Tally:
    """What the campaign has done."""

    runs = comparisons = differences = cuts = upgrades = unreadable = duplicates = 0

    def write(self) -> None:
        """Write it to the file that `CAMPAIGN_EDGES` names, if it names one."""
        if file := os.environ.get("CAMPAIGN_EDGES"):
            names = ("runs", "comparisons", "differences", "cuts", "upgrades", "unreadable", "duplicates")
            Path(file).write_text(json.dumps({name: getattr(self, name) for name in names}) + "\n", encoding="utf-8")


TALLY = Tally()


class Edges(RuleBasedStateMachine):
    """The state machine. Each value that it sends is another number, by which it is found wherever it landed."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._sandbox = Sandbox(COUNTS, email=EMAIL, api_key=API_KEY)
        self._sandbox.__enter__()
        self._warehouse = DuckDbFile(Path(self._folder.name) / "warehouse.duckdb")
        self._history = dg.DagsterInstance.ephemeral()
        self._environment = pytest.MonkeyPatch()
        for name, value in {
            **self._warehouse.environment,
            "DLT_LOCAL_DIR": self._folder.name,
            "SOURCES__CRM__BASE_URL": self._sandbox.base_url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
            "SOURCES__CRM__PAGE_SIZE": "4",
            "SYNC__HISTORY": "true",
        }.items():
            self._environment.setenv(name, value)
        self._declares = False
        self._number = 1_000_000
        self._columns: dict[tuple[str, str], str] = {}
        """The column of each field of each resource, as it was first seen."""
        self._hidden: dict[str, dict[int, Any]] = {resource: {} for resource in RESOURCES}
        """Records in whose place something else is listed."""
        self._deleted: dict[str, set[int]] = {resource: set() for resource in RESOURCES}

    def teardown(self) -> None:
        self._environment.undo()
        self._sandbox.__exit__(None, None, None)
        self._folder.cleanup()
        TALLY.write()

    # What happens in the CRM

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _place(self, resource: str, place: int) -> int:
        """Return the place of a record that is listed as itself."""
        records = list(self._sandbox.crm.records(resource))
        own = [index for index, one in enumerate(records) if str(one.get("id")).isdigit()]
        return own[place % len(own)]

    def _record(self, resource: str, place: int) -> dict[str, Any]:
        return dict(list(self._sandbox.crm.records(resource))[self._place(resource, place)])

    @rule(resource=resources, place=places, names=st.lists(st.sampled_from(NAMES), max_size=8, unique=True))
    def send_fields(self, resource: str, place: int, names: list[str]) -> None:
        """Let a record have fields with such names, and no others of them."""
        index = self._place(resource, place)
        kept = {name: value for name, value in self._record(resource, place).items() if name not in NAMES}
        sent = {name: self._next() for name in names}
        self._sandbox.crm.replace(resource, index, {**sent, **kept, DECLARED_LATER: self._next()})

    @rule(resource=resources)
    def create(self, resource: str) -> None:
        """Let a record come."""
        self._sandbox.crm.create(resource, {"id": self._next(), "created_time": 1_700_000_000})

    @rule(resource=resources, place=places)
    def delete(self, resource: str, place: int) -> None:
        """Let a record go."""
        if len(list(self._sandbox.crm.records(resource))) > 8:
            record_id = int(self._record(resource, place)["id"])
            self._sandbox.crm.delete(resource, record_id)
            self._deleted[resource].add(record_id)

    @rule(resource=resources, place=places, record=st.sampled_from(UNREADABLE))
    def hide(self, resource: str, place: int, record: dict[str, Any]) -> None:
        """List a record without its id."""
        index, own = self._place(resource, place), self._record(resource, place)
        self._hidden[resource][int(own["id"])] = (index, own)
        self._sandbox.crm.replace(resource, index, {"created_time": 1_700_000_000, **record})
        TALLY.unreadable += 1
        self.run()
        self._sandbox.crm.replace(resource, index, own)
        del self._hidden[resource][int(own["id"])]

    @rule(resource=resources, place=places, at=places, times=st.permutations([None, 999, "1700000000", 1_800_000_000]))
    def repeat(self, resource: str, place: int, at: int, times: list[Any]) -> None:
        """List a record twice, in two versions, and another one not at all."""
        first, second = self._place(resource, place), self._place(resource, at)
        if first == second:
            return
        records = list(self._sandbox.crm.records(resource))
        versions = [{**records[first], DECLARED_LATER: self._next(), "updated_time": time} for time in times[:2]]
        if resource == "contacts":
            self._sandbox.crm.update(resource, records[first]["id"])
        lost = int(records[second]["id"])
        self._sandbox.crm.replace(resource, first, versions[0])
        self._sandbox.crm.replace(resource, second, versions[1])
        TALLY.duplicates += 1
        self.run(missing={resource: {lost}})
        self._sandbox.crm.replace(resource, first, {**records[first], DECLARED_LATER: self._next()})
        self._sandbox.crm.replace(resource, second, records[second])
        self.run()

    # What the project does

    @initialize()
    def begin(self) -> None:
        """Load once, so that there is something to lose."""
        self.run()

    @rule()
    def upgrade(self) -> None:
        """Run with another model than before."""
        self._declares = not self._declares
        TALLY.upgrades += 1
        self.run()

    @rule(after=st.integers(1, 5), is_empty=st.booleans())
    def cut(self, after: int, is_empty: bool) -> None:
        """Run while a page of contacts is empty, or has lost its cursor; the next listing is whole."""
        page = list(self._sandbox.crm.records("contacts"))[4 * after : 4 * after + (0 if is_empty else 4)]
        self._sandbox.fault(Fault("contacts", "html", times=1, after=after, body=json.dumps({"data": page})))
        TALLY.cuts += 1
        ids = [int(one["id"]) for one in self._sandbox.crm.records("contacts") if str(one.get("id")).isdigit()]
        self.run(missing={"contacts": set(ids[4 * after + len(page) :])})
        self._sandbox.clear_faults()
        self.run()

    @rule()
    def run(self, missing: dict[str, set[int]] | None = None) -> None:
        """Run, and look at every row."""
        account = an_account()
        if self._declares:
            for resource in RESOURCES:
                field = Field(None, description="Declared later.")
                account = _declaring(account, resource, field)
        TALLY.runs += 1
        result = run_assets(self._history, RESOURCES, account=account)
        assert result.success, [event.message for event in result.all_events if event.is_failure]
        for resource in RESOURCES:
            self._compare(resource, (missing or {}).get(resource, set()))

    def _compare(self, resource: str, missing: set[int]) -> None:
        rows: Table = {row["id"]: row for row in self._warehouse.rows(resource)}
        listed: dict[int, dict[str, Any]] = {}
        for one in self._sandbox.crm.records(resource):
            if str(one.get("id")).isdigit():
                listed[int(one["id"])] = max(listed.get(int(one["id"]), one), one, key=_changed)
        differences = [
            problem
            for record_id, record in listed.items()
            if record_id not in missing
            for problem in self._problems(resource, record, rows.get(record_id))
        ]
        there = {*listed, *missing, *self._hidden[resource]}
        differences += [f"{one} is flagged and there" for one in there if one in rows and rows[one]["_deleted_at"]]
        differences += [f"{one} is gone" for one in there - rows.keys() if one not in missing]
        ended = self._warehouse.query(
            f"SELECT id FROM crm.{resource} WHERE _deleted_at IS NULL"
            f" AND id NOT IN (SELECT id FROM crm.{resource}_history WHERE _dlt_valid_to IS NULL)"
        )
        differences += [f"{one} has no version" for (one,) in ended]
        TALLY.comparisons += 1
        TALLY.differences += len(differences)
        assert not differences, f"{resource}: {differences}"

    def _problems(self, resource: str, record: dict[str, Any], row: dict[str, Any] | None) -> list[str]:
        """Return what of `record` is not where it belongs in `row`."""
        if row is None:
            return [f"{record['id']} is missing"]
        found = []
        for name in (*NAMES, DECLARED_LATER):
            holders = [column for column, value in row.items() if name in record and value == record[name]]
            if name not in record:
                continue
            if len(holders) != 1:
                found.append(f"{record['id']}: {name!r} is in {holders}")
                continue
            known = self._columns.setdefault((resource, name), holders[0])
            if known != holders[0]:
                found.append(f"{record['id']}: {name!r} was in {known}, is in {holders[0]}")
        owners = [column for (of, _), column in self._columns.items() if of == resource]
        return found + (["two fields share a column"] if len(owners) != len(set(owners)) else [])


def _changed(record: dict[str, Any]) -> int:
    """Return when a record says that it was changed: of two versions, the newer one counts."""
    return int(record.get("updated_time") or 0)


def _declaring(account: Account, resource: str, field: Any) -> Account:
    declare: Callable[..., Account] = declaring
    return declare(account, resource, **{DECLARED_LATER: (BigInt | None, field)})


Edges.TestCase.settings = settings(
    max_examples=int(os.environ.get("CAMPAIGN_EXAMPLES", "2")) // 2 or 1,
    stateful_step_count=int(os.environ.get("CAMPAIGN_STEPS", "12")),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestEdges = pytest.mark.long(Edges.TestCase)
