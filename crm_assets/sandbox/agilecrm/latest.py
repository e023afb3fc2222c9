"""What is known of the records of a resource, kept until one of them changes."""

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from crm_assets.sandbox.crm import SandboxCrm, Snapshot

Value = TypeVar("Value")
Fact = TypeVar("Fact")


class Latest(Generic[Value]):
    """What `compute` makes of `resource` as it stands, computed once per version."""

    def __init__(self, crm: SandboxCrm, resource: str, compute: Callable[[Snapshot], Value]) -> None:
        self._crm, self._resource, self._compute = crm, resource, compute
        self._lock = Lock()
        self._kept: tuple[Snapshot, Value] | None = None

    def get(self) -> tuple[Snapshot, Value]:
        """Return the records, and what is made of them."""
        with self._lock:
            snapshot = self._crm.snapshot(self._resource)
            if self._kept is None or self._kept[0] is not snapshot:
                self._kept = snapshot, self._compute(snapshot)
            return self._kept


class Facts(Generic[Fact]):
    """What `fact` says of each record: asked once of those of the start, which never change, and anew of the others."""

    def __init__(self, crm: SandboxCrm, resource: str, fact: Callable[[Any], Fact]) -> None:
        self._world, self._resource, self._fact = crm.world, resource, fact
        self._lock = Lock()
        self._of_start: list[Fact] | None = None

    def of(self, snapshot: Snapshot) -> list[Fact]:
        """Return the facts of `snapshot` by position; what stands there for a deleted record means nothing."""
        facts = self._start().copy()
        facts += [self._fact(None)] * (snapshot.end - len(facts))
        for position, record in snapshot.own.items():
            facts[position] = self._fact(record)
        return facts

    def _start(self) -> list[Fact]:
        with self._lock:
            if self._of_start is None:
                numbers = range(self._world.counts[self._resource])
                self._of_start = [self._fact(self._world.record(self._resource, number)) for number in numbers]
            return self._of_start
