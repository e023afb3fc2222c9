"""Read every selected resource to its end, all at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

import pyarrow as pa
from dlt.extract import DltResource

from crm_assets.api.connection import Connection, Traffic
from crm_assets.api.guide import EndpointTable
from crm_assets.api.source import crm_resources
from crm_assets.errors import Cancelled, CrmAssetsError, LoginRefused, Reason
from crm_assets.sync.progress import Reading, Watcher
from crm_assets.sync.spool import ListingSpool, Spooled

BATCH_RECORDS = 1_000
BATCH_BYTES = 4 << 20
_PROMPTLY = 1.0
"""Seconds that a cancelled fetch waits for its threads; one that hangs in a read is left to end alone."""


@dataclass(frozen=True)
class Fetched:
    """One resource, read to its end and spooled."""

    spooled: Spooled
    records: int
    traffic: Traffic
    seconds: float

    @property
    def resource(self) -> str:
        """Name of the resource."""
        return self.spooled.resource


@dataclass(frozen=True)
class Failed:
    """One resource that could not be read to its end. Nothing of it is loaded."""

    resource: str
    error: Exception


@dataclass
class Listings:
    """What a fetch brought."""

    complete: list[Fetched] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class Incomplete(CrmAssetsError):
    """Some resources could not be read. The message names each, why, and what became of the others.

    `reasons` says for each of them what kind of help it needs.
    """

    def __init__(self, listings: Listings) -> None:
        names = ", ".join(one.resource for one in listings.failed)
        causes = dict.fromkeys(_told(one) for one in listings.failed)
        super().__init__("\n".join([f"{names} did not load. {_what_landed(listings)}", *causes]))
        known = {one.resource: one.error for one in listings.failed if isinstance(one.error, CrmAssetsError)}
        self.reasons: dict[str, Reason] = {resource: error.reason for resource, error in known.items()}
        kinds = set(self.reasons.values())
        self.reason = kinds.pop() if len(kinds) == 1 else "data"
        self.worth_retrying = any(error.worth_retrying for error in known.values())


def fetch(
    table: EndpointTable, connection: Connection, names: Sequence[str], directory: Path, watcher: Watcher
) -> Listings:
    """Read the resources `names` of the CRM into files in `directory`, one thread per resource.

    A resource that fails stops no other, except when the login as such is refused: then none is asked
    again. When the caller is interrupted, the threads are stopped before the interruption goes on.

    Raises:
        EndpointTableError: a name is not in the table.
    """
    # Arrow's own allocator keeps what each thread gave back: a third more memory for the whole process.
    pa.set_memory_pool(pa.system_memory_pool())
    resources, traffic = crm_resources(table, connection, names)
    outcomes: SimpleQueue[Fetched | Failed] = SimpleQueue()
    readers = [_Reader(resource, connection, traffic[resource.name], directory, outcomes) for resource in resources]
    for reader in readers:
        reader.start()
    try:
        return _collect(readers, outcomes, connection, watcher)
    except BaseException:
        connection.cancelled.set()
        deadline = monotonic() + _PROMPTLY
        for reader in readers:
            reader.join(max(0.0, deadline - monotonic()))
        raise


class _Reader(Thread):
    def __init__(
        self,
        resource: DltResource,
        connection: Connection,
        traffic: Traffic,
        directory: Path,
        outcomes: "SimpleQueue[Fetched | Failed]",
    ) -> None:
        super().__init__(name=f"fetch-{resource.name}", daemon=True)
        self.resource: str = resource.name
        self._records = resource
        self._connection = connection
        self._traffic = traffic
        self._directory = directory
        self._outcomes = outcomes
        self._began = monotonic()
        self._finished: float | None = None
        self.records = 0

    def run(self) -> None:
        try:
            outcome: Fetched | Failed = self._read()
        except Exception as error:
            outcome = Failed(self.resource, _said_on_purpose(error))
        self._finished = monotonic()
        self._outcomes.put(outcome)

    def reading(self) -> Reading:
        seconds = (self._finished or monotonic()) - self._began
        return Reading(self.resource, self.records, self._traffic.pages, seconds, self._finished is not None)

    def _read(self) -> Fetched:
        spool = ListingSpool(self._directory, self.resource)
        waiting: list[Any] = []
        bytes_spooled = 0
        for record in self._records:
            waiting.append(record)
            if len(waiting) >= BATCH_RECORDS or self._traffic.bytes - bytes_spooled >= BATCH_BYTES:
                self._spool(spool, waiting)
                waiting, bytes_spooled = [], self._traffic.bytes
        self._spool(spool, waiting)
        return Fetched(spool.complete(), self.records, self._traffic, monotonic() - self._began)

    def _spool(self, spool: ListingSpool, records: list[Any]) -> None:
        if self._connection.cancelled.is_set():
            raise Cancelled(f"{self.resource}: reading was cancelled.")
        spool.add(records)
        self.records += len(records)


def _collect(
    readers: Sequence[_Reader],
    outcomes: "SimpleQueue[Fetched | Failed]",
    connection: Connection,
    watcher: Watcher,
) -> Listings:
    listings = Listings()
    refused: LoginRefused | None = None
    pending = len(readers)
    told = monotonic()
    while pending:
        try:
            outcome = outcomes.get(timeout=max(0.0, told + watcher.every - monotonic()))
        except Empty:
            watcher.tell([reader.reading() for reader in readers])
            told = monotonic()
            continue
        pending -= 1
        if isinstance(outcome, Fetched):
            listings.complete.append(outcome)
            continue
        listings.failed.append(outcome)
        if not any(reader.reading().pages for reader in readers):
            refused = refused or _refused_login(outcome.error)
        if refused:
            connection.cancelled.set()
    watcher.tell([reader.reading() for reader in readers])
    order = [reader.resource for reader in readers]
    listings.complete.sort(key=lambda one: order.index(one.resource))
    listings.failed.sort(key=lambda one: order.index(one.resource))
    return _all_refused(listings, refused) if refused else listings


def _refused_login(error: Exception) -> LoginRefused | None:
    return error if isinstance(error, LoginRefused) and error.status == 401 else None


def _all_refused(listings: Listings, refused: LoginRefused) -> Listings:
    """A wrong login is one fault, not eleven: whatever it ended, it ended for the same reason."""
    failed = [
        Failed(one.resource, refused if isinstance(one.error, Cancelled | LoginRefused) else one.error)
        for one in listings.failed
    ]
    return Listings(listings.complete, failed)


def _told(failed: Failed) -> str:
    if isinstance(failed.error, CrmAssetsError):
        return str(failed.error)
    return f"{failed.resource}: {type(failed.error).__name__}: {failed.error}. Its table is untouched."


def _what_landed(listings: Listings) -> str:
    match len(listings.complete):
        case 0:
            return "No table was loaded."
        case 1:
            return f"The table {listings.complete[0].resource} is loaded."
        case count:
            return f"The other {count} tables are loaded."


def _said_on_purpose(error: Exception) -> Exception:
    """Return the project's own error inside the layers that dlt put around it, or else `error`."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, CrmAssetsError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error
