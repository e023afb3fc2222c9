"""Read every selected resource to its end, all at the same time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

import pyarrow as pa

from crm_assets.apis.api_config import ApiConfig, select, validated
from crm_assets.errors import Cancelled, CrmAssetsError, DiskError, LoginRefused, Reason, unwrap_error
from crm_assets.extract.checkpoints import CheckpointStore
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.listing import ListingReader, ReadOptions
from crm_assets.extract.progress import ProgressListener, Reading
from crm_assets.extract.spool import Spooled

_PROMPTLY = 1.0
"""Seconds that a cancelled fetch waits for its threads; one that hangs in a read is left to end alone."""


@dataclass(frozen=True)
class Fetched:
    """One resource, read to its end and spooled."""

    spooled: Spooled
    records: int
    resumed: int
    """How many of the records an earlier attempt had read already."""
    traffic: Traffic
    seconds: float
    checkpoints: CheckpointStore
    """Where it would be gone on with; to be cleared when it is loaded."""

    @property
    def resource(self) -> str:
        """Name of the resource."""
        return self.spooled.resource


@dataclass(frozen=True)
class ReadFailure:
    """One resource that could not be read to its end. Nothing of it is loaded."""

    resource: str
    error: Exception


@dataclass
class Listings:
    """What a fetch brought."""

    complete: list[Fetched] = field(default_factory=list)
    failed: list[ReadFailure] = field(default_factory=list)


class PartialSyncError(CrmAssetsError):
    """Some resources could not be read. The message names each, why, and what became of the others.

    `reasons` says for each of them what kind of help it needs.

    Args:
        listings: what the fetch brought.
        landed: the resources that are loaded, those of an earlier attempt included.
    """

    def __init__(self, listings: Listings, landed: Collection[str]) -> None:
        names = ", ".join(one.resource for one in listings.failed)
        causes = dict.fromkeys(_told(one) for one in listings.failed)
        super().__init__("\n".join([f"{names} did not load. {_what_landed(sorted(landed))}", *causes]))
        self.reasons: dict[str, Reason] = {
            one.resource: one.error.reason if isinstance(one.error, CrmAssetsError) else "data"
            for one in listings.failed
        }
        kinds = set(self.reasons.values())
        self.reason = kinds.pop() if len(kinds) == 1 else "data"
        self.worth_retrying = any(
            isinstance(one.error, CrmAssetsError) and one.error.worth_retrying for one in listings.failed
        )


def fetch(
    table: ApiConfig, connection: Connection, options: Mapping[str, ReadOptions], listener: ProgressListener
) -> Listings:
    """Read the resources that `options` names into files, one thread per resource.

    A resource that fails stops no other, except when the login as such is refused: then none is asked
    again. When the caller is interrupted, the threads are stopped before the interruption goes on.

    Raises:
        ApiConfigError: a name is not in the table.
    """
    # Arrow's own allocator keeps what each thread gave back: a third more memory for the whole process.
    pa.set_memory_pool(pa.system_memory_pool())
    outcomes: SimpleQueue[Fetched | ReadFailure | str] = SimpleQueue()
    threads = [
        _Thread(ListingReader(table, row, connection, options[row["name"]], outcomes.put), outcomes)
        for row in select(validated(table), list(options))
    ]
    for thread in threads:
        thread.start()
    try:
        return _collect(threads, outcomes, connection, listener)
    except BaseException:
        connection.cancelled.set()
        deadline = monotonic() + _PROMPTLY
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        raise


class _Thread(Thread):
    def __init__(self, reader: ListingReader, outcomes: "SimpleQueue[Fetched | ReadFailure | str]") -> None:
        super().__init__(name=f"fetch-{reader.resource}", daemon=True)
        self.reader = reader
        self._outcomes = outcomes
        self._began = monotonic()
        self._finished: float | None = None

    def run(self) -> None:
        reader = self.reader
        outcome: Fetched | ReadFailure
        try:
            spooled = reader.read()
            seconds = monotonic() - self._began
            outcome = Fetched(spooled, reader.records, reader.resumed, reader.traffic, seconds, reader.checkpoints)
        except OSError as error:
            outcome = ReadFailure(reader.resource, DiskError.of(error, f"reading {reader.resource}"))
        except Exception as error:
            outcome = ReadFailure(reader.resource, unwrap_error(error))
        self._finished = monotonic()
        self._outcomes.put(outcome)

    def reading(self) -> Reading:
        seconds = (self._finished or monotonic()) - self._began
        pages = self.reader.traffic.pages
        return Reading(self.reader.resource, self.reader.records, pages, seconds, self._finished is not None)


def _collect(
    threads: Sequence[_Thread],
    outcomes: "SimpleQueue[Fetched | ReadFailure | str]",
    connection: Connection,
    listener: ProgressListener,
) -> Listings:
    listings = Listings()
    refused: LoginRefused | None = None
    pending = len(threads)
    told = monotonic()
    while pending:
        try:
            outcome = outcomes.get(timeout=max(0.0, told + listener.every - monotonic()))
        except Empty:
            listener.tell([thread.reading() for thread in threads])
            told = monotonic()
            continue
        if isinstance(outcome, str):
            listener.say(outcome)
            continue
        pending -= 1
        if isinstance(outcome, Fetched):
            listings.complete.append(outcome)
            continue
        listings.failed.append(outcome)
        if not any(thread.reader.traffic.pages for thread in threads):
            refused = refused or _refused_login(outcome.error)
        if refused:
            connection.cancelled.set()
    listener.tell([thread.reading() for thread in threads])
    order = [thread.reader.resource for thread in threads]
    listings.complete.sort(key=lambda one: order.index(one.resource))
    listings.failed.sort(key=lambda one: order.index(one.resource))
    return _all_refused(listings, refused) if refused else listings


def _refused_login(error: Exception) -> LoginRefused | None:
    return error if isinstance(error, LoginRefused) and error.status == 401 else None


def _all_refused(listings: Listings, refused: LoginRefused) -> Listings:
    """A wrong login is one fault, not eleven: whatever it ended, it ended for the same reason."""
    failed = [
        ReadFailure(one.resource, refused if isinstance(one.error, Cancelled | LoginRefused) else one.error)
        for one in listings.failed
    ]
    return Listings(listings.complete, failed)


def _told(failed: ReadFailure) -> str:
    if isinstance(failed.error, CrmAssetsError):
        return str(failed.error)
    return f"{failed.resource}: {type(failed.error).__name__}: {failed.error}. Its table is untouched."


def _what_landed(landed: Sequence[str]) -> str:
    match len(landed):
        case 0:
            return "No table was loaded."
        case 1:
            return f"The table {landed[0]} is loaded."
        case count:
            return f"The other {count} tables are loaded."
