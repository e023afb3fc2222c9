"""Read every selected resource to its end, all at the same time."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from types import MappingProxyType
from typing import Any

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.errors import Cancelled, CrmAssetsError, LoginRefused, own_error
from crm_assets.extract.checkpoints import CheckpointStore
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.heaps import share_heaps
from crm_assets.extract.incremental import Start, with_start
from crm_assets.extract.listing import ListingReader, ReadOptions
from crm_assets.extract.parents import ParentRecords
from crm_assets.extract.progress import ProgressListener, Reading
from crm_assets.extract.spool import Spooled
from crm_assets.settings import SyncSettings

_FORMAT = 2
"""How listings are kept on disk; another number than that of an unfinished one, which is then not resumed."""
_PROMPTLY = 1.0
"""Seconds that a cancelled fetch waits for its threads; one that hangs in a read is left to end alone."""


@dataclass(frozen=True)
class Fetched:
    """One resource, read to its end and spooled."""

    spooled: Spooled
    records: int
    resumed: int
    """How many of the records an earlier attempt had read already."""
    started: datetime
    """When its first page was requested, by that attempt."""
    traffic: Traffic
    seconds: float
    checkpoints: CheckpointStore
    """Where it would be resumed; to be cleared when it is loaded."""
    has_pages: bool
    """Whether the listing comes in pages, so that records can move from one to another meanwhile."""
    has_parents: bool
    """Whether it is listed for each record of other resources, one of which can be missed."""
    since: str | None = None
    """From where an incremental listing was asked for; None for a whole one."""

    @property
    def resource(self) -> str:
        """Name of the resource."""
        return self.spooled.resource


@dataclass(frozen=True)
class Listings:
    """What a fetch brought: complete listings, and the error of each resource of which nothing is loaded."""

    complete: list[Fetched] = field(default_factory=list)
    failed: dict[str, CrmAssetsError] = field(default_factory=dict)

    def without(self, failed: Mapping[str, CrmAssetsError]) -> "Listings":
        """Return the listings with those that `failed` since among the failed."""
        return Listings([one for one in self.complete if one.resource not in failed], {**self.failed, **failed})


_Outcome = Fetched | tuple[str, CrmAssetsError] | str
"""What a thread says: the listing, why there is none, or a line for the reader."""


def fetch(
    account: Account,
    resources: Sequence[Resource],
    connection: Connection,
    directory: Path,
    listener: ProgressListener,
    starts: Mapping[str, Start] = MappingProxyType({}),
) -> Listings:
    """Read `resources` into files, one thread per resource.

    A resource that fails stops no other, except when the login as such is refused: then no other request is sent.
    When the caller is interrupted, the threads are stopped before the interruption goes on.

    Args:
        account: whose resources they are.
        resources: what to read.
        connection: address, login and limits.
        directory: where the files of listings go that cannot be resumed.
        listener: told about progress.
        starts: where the listing of a resource begins, by its name; what is not in it is listed whole.
    """
    share_heaps()
    outcomes: SimpleQueue[_Outcome] = SimpleQueue()
    writer = ThreadPoolExecutor(1, thread_name_prefix="fetch-write")
    families = _families(account, resources, starts)
    listed = [*resources, *_unloaded_parents(account, resources)]
    kept_as = {one.name: _kept_as(account, resources, one) for one in listed}
    threads = [
        _Thread(
            ListingReader(
                with_start(one, _value(starts.get(one.name))),
                connection,
                _options(
                    account, one, kept_as[one.name], connection, writer, directory, families, starts.get(one.name)
                ),
                outcomes.put,
            ),
            outcomes,
        )
        for one in listed
    ]
    for thread in threads:
        thread.start()
    try:
        listings = _collect(threads, outcomes, connection, listener)
    except BaseException:
        connection.cancelled.set()
        deadline = monotonic() + _PROMPTLY
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        raise
    finally:
        writer.shutdown(wait=False)
    return _only(resources, listings)


def _options(
    account: Account,
    resource: Resource,
    kept_as: str,
    connection: Connection,
    writer: Executor,
    directory: Path,
    families: Mapping[str, ParentRecords],
    start: Start | None,
) -> ReadOptions:
    settings = account.sync.get(resource.name, SyncSettings())
    path = account.data_dir / "unfinished" / kept_as
    of_all = f"{connection.source_id}:{_shape(resource)}"
    store = CheckpointStore(path, f"{of_all}:{start}" if start else of_all, settings.resume_within)
    parents = {name: families[name] for name in resource.parents}
    whole, incremental = None, resource.incremental
    if start and start.value is not None and incremental and "endpoints" in incremental:
        whole = with_start(resource), CheckpointStore(path, of_all, settings.resume_within)
    since = str(start) if start else None
    return ReadOptions(
        writer, directory, store, settings.new_columns, parents, families.get(resource.name), since, whole
    )


def _shape(resource: Resource) -> str:
    """Return what the files of a listing depend on beside the CRM: one that another model has begun is not resumed."""
    columns = [(one.name, one.field, one.data_type, one.nullable) for one in resource.columns]
    return sha256(repr((_FORMAT, columns, resource.key, resource.remove_fields)).encode()).hexdigest()[:16]


def _value(start: Start | None) -> Any:
    return start.value if start else None


def _unloaded_parents(account: Account, resources: Sequence[Resource]) -> list[Resource]:
    """Return what must be listed for `resources` without being loaded: parents, and parents of these."""
    wanted = list(resources)
    for resource in wanted:
        names = [one.name for one in wanted]
        wanted += [account.api.resource(parent) for parent in resource.parents if parent not in names]
    return wanted[len(resources) :]


def _kept_as(account: Account, resources: Sequence[Resource], resource: Resource) -> str:
    """Return the name under which an unfinished listing of `resource` is kept.

    One that is read for its children alone is kept under a child's: this run has locked that table, and not its own.
    """
    if resource in resources:
        return account.table_id(resource.name)
    child = next(one for one in [*resources, *_unloaded_parents(account, resources)] if resource.name in one.parents)
    return f"{_kept_as(account, resources, child)}.{resource.name}"


def _families(account: Account, resources: Sequence[Resource], starts: Mapping[str, Start]) -> dict[str, ParentRecords]:
    """Return where the records of each parent wait for its children."""
    children: dict[str, list[Resource]] = {}
    for resource in [*resources, *_unloaded_parents(account, resources)]:
        for parent in resource.parents:
            children.setdefault(parent, []).append(resource)
    known = {name: start.known for name, start in starts.items()}
    return {parent: ParentRecords(parent, found, known.get(parent)) for parent, found in children.items()}


def _only(resources: Sequence[Resource], listings: Listings) -> Listings:
    """Return `listings` without those that were read for their children only, which are not resumed either."""
    names = {one.name for one in resources}
    for one in listings.complete:
        if one.resource not in names:
            one.checkpoints.clear()
    return Listings(
        [one for one in listings.complete if one.resource in names],
        {name: error for name, error in listings.failed.items() if name in names},
    )


class _Thread(Thread):
    def __init__(self, reader: ListingReader, outcomes: "SimpleQueue[_Outcome]") -> None:
        super().__init__(name=f"fetch-{reader.resource.name}", daemon=True)
        self.reader = reader
        self._outcomes = outcomes
        self._began = monotonic()
        self._finished: float | None = None

    @property
    def resource(self) -> str:
        return self.reader.resource.name

    def run(self) -> None:
        outcome: _Outcome
        try:
            spooled = self.reader.read()
            outcome = self._fetched(spooled)
        except Exception as error:
            outcome = (self.resource, own_error(error, self.resource))
        self._finished = monotonic()
        self._outcomes.put(outcome)

    def _fetched(self, spooled: Spooled) -> Fetched:
        reader = self.reader
        seconds = monotonic() - self._began
        return Fetched(
            spooled,
            reader.records,
            reader.resumed,
            reader.started,
            reader.traffic,
            seconds,
            reader.checkpoints,
            reader.resource.has_pages,
            bool(reader.resource.parents),
            reader.since,
        )

    def reading(self) -> Reading:
        seconds = (self._finished or monotonic()) - self._began
        reader = self.reader
        return Reading(
            self.resource,
            reader.records,
            reader.resumed,
            reader.traffic.pages,
            seconds,
            self._finished is not None,
            reader.parents_done,
            reader.parents_total,
        )


def _collect(
    threads: Sequence[_Thread],
    outcomes: "SimpleQueue[_Outcome]",
    connection: Connection,
    listener: ProgressListener,
) -> Listings:
    complete: dict[str, Fetched] = {}
    failed: dict[str, CrmAssetsError] = {}
    refused: LoginRefused | None = None
    listener.tell([thread.reading() for thread in threads])
    told = monotonic()
    while len(complete) + len(failed) < len(threads):
        try:
            outcome = outcomes.get(timeout=max(0.0, told + listener.every - monotonic()))
        except Empty:
            listener.tell([thread.reading() for thread in threads])
            told = monotonic()
            continue
        match outcome:
            case str():
                listener.say(outcome)
            case Fetched():
                complete[outcome.resource] = outcome
            case (resource, error):
                failed[resource] = error
                if not any(thread.reader.traffic.pages for thread in threads):
                    refused = refused or _refused_login(error)
                if refused:
                    connection.cancelled.set()
    listener.tell([thread.reading() for thread in threads])
    if refused:
        failed = {name: _one_cause(error, refused) for name, error in failed.items()}
    order = [thread.resource for thread in threads]
    return Listings(
        [complete[name] for name in order if name in complete], {name: failed[name] for name in order if name in failed}
    )


def _refused_login(error: CrmAssetsError) -> LoginRefused | None:
    return error if isinstance(error, LoginRefused) and error.status == 401 else None


def _one_cause(error: CrmAssetsError, refused: LoginRefused) -> CrmAssetsError:
    """A wrong login is one fault, not eleven: whatever it ended, it ended for the same reason."""
    return refused if isinstance(error, Cancelled | LoginRefused) else error
