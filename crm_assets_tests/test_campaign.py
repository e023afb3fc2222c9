"""Random changes, faults, kills and runs: after each run, each table is what the CRM listed, or as it was."""

import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.fault_kinds import KINDS
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.campaign import MARK, Model, Table, Tally, differences, live_rows
from crm_assets_tests.conftest import API_KEY, EMAIL
from crm_assets_tests.runner import Outcome, Run
from crm_assets_tests.sandbox_apis import account_of
from crm_assets_tests.warehouses import a_warehouse

COUNTS = dict.fromkeys(MODELS, 6) | {"contacts": 23, "companies": 11, "deals": 17, "notes": 12, "milestone": 3}
STATUSES = (401, 403, 404, 429, 500, 502, 503, 504)
BUSY = ("contacts", "deals", "notes")
"""The resources to which most happens: two with pages, and one that has a single page or is listed below these two."""
KIND = os.environ.get("CAMPAIGN_WAREHOUSE", "duckdb")
"""The warehouse, as dlt calls it."""
TALLY = Tally()
resources = st.sampled_from([*BUSY, *BUSY, "companies", "tickets"])
happenings = st.sampled_from(["create", "update", "update", "delete", "come back"])
Event = tuple[str, str, int]
"""Something that happens in the CRM: to which resource, what, and to which of its records."""
events = st.lists(st.tuples(resources, happenings, st.integers(0, 10_000)), max_size=5)
faults = st.lists(
    st.builds(
        Fault,
        resource=resources,
        kind=st.sampled_from(sorted(KINDS)),
        times=st.integers(1, 9),
        after=st.integers(0, 4),
        status=st.sampled_from(STATUSES),
        retry_after=st.just("0"),
        location=st.just("http://localhost:1/"),
        release=st.builds(ThreadEvent),
    ),
    max_size=2,
)
subsets = st.lists(resources, min_size=1, max_size=3, unique=True)


class Warehouse(RuleBasedStateMachine):
    """The state machine: the sandbox's CRM is the model of the warehouse.

    Attributes:
        api: through which the CRM is read.
    """

    api: ApiName = "v1"

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._warehouse = a_warehouse(KIND, self._path)
        self._sandbox = Sandbox(COUNTS, email=EMAIL, api_key=API_KEY)
        self._sandbox.__enter__()
        self._model = Model(self.api, self._sandbox, MODELS)
        self._unfinished: set[str] = set()
        self._versions = 0
        self._environment = {
            **self._warehouse.environment,
            "DLT_LOCAL_DIR": str(self._path),
            "SOURCES__CRM__BASE_URL": self._sandbox.base_url,
            "SOURCES__CRM__EMAIL": EMAIL,
            "SOURCES__CRM__API_KEY": API_KEY,
            "SOURCES__CRM__PAGE_SIZE": "4",
            "SOURCES__CRM__EVENTS_SPAN_DAYS": "2000",
            "SYNC__MODE": "full",  # what only asks for what is new finds no deletes
            "SYNC__DEALS__HISTORY": "true",
        }

    def teardown(self) -> None:
        self._sandbox.__exit__(None, None, None)
        self._folder.cleanup()
        TALLY.write()

    # What happens in the CRM

    def _version(self) -> dict[str, Any]:
        self._versions += 1
        return {MARK: self._versions, "updated_time": 1_800_000_000 + self._versions}

    def _meanwhile(self, events: list[Event], faults: list[Fault]) -> None:
        for event in events:
            self._happen(*event)
        for fault in faults:
            self._sandbox.fault(replace(fault, release=ThreadEvent()))
            TALLY.faults[fault.kind] = TALLY.faults.get(fault.kind, 0) + 1

    def _happen(self, resource: str, what: str, place: int) -> None:
        crm = self._sandbox.crm
        records = list(crm.records(resource))
        record = records[place % len(records)] if records else None
        if record and what in ("delete", "come back"):
            crm.delete(resource, record["id"])
            self._model.changed(resource)
        if record and what == "update":
            crm.update(resource, record["id"], **self._version())
        if record and what == "come back":
            crm.create(resource, {**record, **self._version()})
        if what == "create":
            crm.create(resource, {"id": 900_000_000 + self._versions, **self._version()})
        self._model.changed(resource)

    @rule()
    def mend(self) -> None:
        """Switch all faults off."""
        self._sandbox.clear_faults()

    # What the project does

    @initialize()
    def load_everything(self) -> None:
        """Load all tables once, so that there is something to lose."""
        self.run(list(BUSY), [], [])

    @rule(names=subsets, events=events, faults=faults)
    def run(self, names: list[str], events: list[Event], faults: list[Fault]) -> None:
        """Run to the end."""
        self._meanwhile(events, faults)
        wanted = names or list(MODELS)
        before = self._tables(wanted)
        self._judge(self._to_the_end(self._begin(names)), wanted, before)

    @rule(events=events)
    def run_everything(self, events: list[Event]) -> None:
        """Run all resources to the end."""
        self.run([], events, [])

    @rule(
        names=subsets,
        events=events,
        faults=faults,
        seconds=st.floats(0.0, 2.0),
        late=st.sampled_from([True, True, True, False]),
        politely=st.booleans(),
    )
    def run_and_kill(
        self, names: list[str], events: list[Event], faults: list[Fault], seconds: float, late: bool, politely: bool
    ) -> None:
        """Run, end the process at any moment with SIGKILL or SIGINT, and look at what it left."""
        self._meanwhile(events, faults)
        before = self._tables(names)
        run = self._begin(names)
        if late:
            self._until_it_reads(run)
        if run.ends_within(seconds):
            self._judge(run.outcome(), names, before)
            return
        if politely:
            run.interrupt()
            TALLY.interrupts += 1
            while not run.ends_within(2.5):
                self._sandbox.clear_faults()
        else:
            run.kill()
            TALLY.kills += 1
        for name in names:
            self._compare(name, self._table(name), [before[name], *self._model.states_of_attempt(name)])

    @rule(names=subsets, events=events, after=st.integers(1, 3))
    def run_while_it_moves(self, names: list[str], events: list[Event], after: int) -> None:
        """Change the CRM between two pages of a listing."""
        self._sandbox.clear_faults()
        before = self._tables(names)
        first = {name: self._model.now(name) for name in names}
        held = self._sandbox.fault(Fault(names[0], "hang", times=1, after=after))
        asked = self._sandbox.requests[names[0]] + after
        run = self._begin(names)
        while self._sandbox.requests[names[0]] <= asked and not run.ends_within(0.05):
            pass
        for _, what, place in events:
            self._happen(names[0], what, place)
        held.release.set()
        TALLY.moved += 1
        self._judge(self._to_the_end(run), names, before, first)

    def _begin(self, names: list[str]) -> Run:
        home = self._path / "home"
        home.mkdir(exist_ok=True)
        self._model.attempted(names or MODELS)
        TALLY.runs += 1
        self._requests = sum(self._sandbox.requests.values())
        kept = self._path.glob("data/unfinished/crm.*/*/checkpoint.json")
        self._unfinished = {file.parent.parent.name.removeprefix("crm.") for file in kept}
        return Run(home, self._environment, names, partial(account_of, self.api))

    def _until_it_reads(self, run: Run) -> None:
        """Wait for the first request of `run`, or for its end: what happens to it before is no fault of the CRM."""
        while sum(self._sandbox.requests.values()) == self._requests and not run.ends_within(0.05):
            pass

    def _to_the_end(self, run: Run) -> Outcome:
        self._until_it_reads(run)
        while not run.ends_within(2.5):
            self._sandbox.clear_faults()  # also what holds an answer
        return run.outcome()

    def _judge(
        self, outcome: Outcome, names: list[str], before: dict[str, Table | None], first: dict[str, int] | None = None
    ) -> None:
        note(f"{outcome}")
        TALLY.succeeded += outcome.success
        TALLY.resumed += sum(1 for resumed in outcome.landed.values() if resumed)
        assert outcome.success == (outcome.landed.keys() == set(names)), outcome
        for name in names:
            if name in outcome.landed:
                resumed = outcome.landed[name] or name in self._unfinished
                since = None if resumed else (first or {}).get(name, self._model.now(name))
                self._compare(name, self._table(name), list(self._model.landed(name, since)))
            else:
                self._compare(name, self._table(name), [before[name]])
        if "deals" in outcome.landed:
            where = "_dlt_valid_to IS NULL"
            active = live_rows(self.api, self._warehouse, "deals", "deals_history", where)
            current = live_rows(self.api, self._warehouse, "deals", where="_deleted_at IS NULL")
            self._compare("deals", active, [current], "deals_history")

    def _tables(self, names: list[str]) -> dict[str, Table | None]:
        return {name: self._table(name) for name in names}

    def _table(self, name: str) -> Table | None:
        return live_rows(self.api, self._warehouse, name)

    def _compare(self, resource: str, table: Table | None, states: list[Table | None], name: str = "") -> None:
        TALLY.comparisons += 1
        if table is None and None in states:
            return
        # A killed run may leave a table empty.
        wrong = differences(self.api, resource, table or {}, [state or {} for state in states])
        TALLY.differences += len(wrong)
        assert not wrong, f"{name or resource}: {wrong}"


class AgileCrmWarehouse(Warehouse):
    """The same through the API agilecrm."""

    api: ApiName = "agilecrm"


SETTINGS = settings(
    max_examples=max(1, int(os.environ.get("CAMPAIGN_EXAMPLES", "2")) // 2),
    stateful_step_count=int(os.environ.get("CAMPAIGN_STEPS", "12")),
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # a campaign that found something says it step by step; repeating takes hours
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
Warehouse.TestCase.settings = AgileCrmWarehouse.TestCase.settings = SETTINGS
TestV1 = pytest.mark.long(Warehouse.TestCase)
TestAgileCrm = pytest.mark.long(AgileCrmWarehouse.TestCase)
