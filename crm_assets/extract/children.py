"""Read a resource for each record of its parent, several requests at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from crm_assets.apis.api import Resource
from crm_assets.errors import CrmAssetsError, own_error
from crm_assets.extract.client import CrmSession
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.endpoint_reader import EndpointReader
from crm_assets.extract.parents import Parent

_AHEAD = 4
"""Parents per thread that wait to be read, or to be taken."""


@dataclass(frozen=True)
class Family:
    """The records of all children of one parent."""

    parent: Parent
    records: list[Any]
    count: int | None = None
    """How many the CRM says that there are; None if it says nothing."""


def read_families(
    resource: Resource, connection: Connection, traffic: Traffic, parents: Iterator[Parent]
) -> Iterator[Family]:
    """Yield the records of `resource` for each of `parents`, in the order in which they come.

    Args:
        resource: what is listed, at one endpoint; it has a parent.
        connection: address, login, limits, and how many requests are sent at once.
        traffic: where the cost is counted.
        parents: for whom.

    Raises:
        CrmError: the children of one parent could not be read; names it. Nothing more is requested then.
        Cancelled: somebody ended the run.
    """
    tasks: SimpleQueue[Parent | None] = SimpleQueue()
    outcomes: SimpleQueue[Family | CrmAssetsError] = SimpleQueue()
    given_up = Event()
    workers = [_Worker(resource, connection, traffic, tasks, outcomes, given_up) for _ in range(connection.concurrency)]
    for worker in workers:
        worker.start()
    waiting = 0
    try:
        for parent in parents:
            tasks.put(parent)
            waiting += 1
            while waiting and (waiting >= _AHEAD * len(workers) or not outcomes.empty()):
                yield _family(outcomes.get())
                waiting -= 1
        while waiting:
            yield _family(outcomes.get())
            waiting -= 1
    finally:
        given_up.set()
        for _ in workers:
            tasks.put(None)


def _family(outcome: Family | CrmAssetsError) -> Family:
    if isinstance(outcome, CrmAssetsError):
        raise outcome
    return outcome


class _Worker(Thread):
    """Reads the children of one parent after the other, over a connection of its own."""

    def __init__(
        self,
        resource: Resource,
        connection: Connection,
        traffic: Traffic,
        tasks: "SimpleQueue[Parent | None]",
        outcomes: "SimpleQueue[Family | CrmAssetsError]",
        given_up: Event,
    ) -> None:
        super().__init__(name=f"fetch-{resource.name}", daemon=True)
        self._resource = resource
        self._connection = connection
        self._traffic = traffic
        self._tasks = tasks
        self._outcomes = outcomes
        self._given_up = given_up

    def run(self) -> None:
        try:
            with CrmSession(self._resource, self._connection, self._traffic) as session:
                reader = EndpointReader(self._resource, self._connection, session)
                while (parent := self._tasks.get()) is not None and not self._given_up.is_set():
                    self._outcomes.put(Family(parent, *reader.read(parent)))
        except Exception as error:  # whoever waits for an outcome must get one
            self._outcomes.put(own_error(error, self._resource.name))
