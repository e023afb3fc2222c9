"""Read one listing to its end, page by page or parent by parent, so that it can be resumed wherever it breaks off."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from crm_assets.apis.api import Resource
from crm_assets.errors import Cancelled, CrmAssetsError, CrmError, DiskError, own_error
from crm_assets.extract.checkpoints import Checkpoint, CheckpointStore, Position
from crm_assets.extract.children import read_families
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.incremental import is_refusal
from crm_assets.extract.one_behind import OneBehind
from crm_assets.extract.pages import read_pages
from crm_assets.extract.paginators import NextRequest, is_resumable, paginator_of
from crm_assets.extract.parents import DoneParents, ParentRecords
from crm_assets.extract.spool import ListingSpool, Spooled
from crm_assets.models.columns import column_name
from crm_assets.text import counted

BATCH_RECORDS = 500
BATCH_BYTES = 4 << 20
BATCH_SECONDS = 1.0
"""After so many records, bytes or seconds, what was read goes to disk."""


@dataclass(frozen=True)
class ReadOptions:
    """How a listing is read.

    Args:
        writer: what converts the records and writes them; of one thread for all listings, which else would stand in
            each other's way.
        directory: where its files go if it has one page and so cannot be resumed.
        checkpoints: where they go otherwise.
        new_columns: how many undeclared fields get a column each.
        parents: the records of the resource's parents, if it has any.
        for_children: where its own records go for those resources whose parent it is.
        since: from where an incremental listing is asked for; None for a whole one.
        whole: what is listed instead if other endpoints say what is new, and one of them fails; and where it is kept.
    """

    writer: Executor
    directory: Path
    checkpoints: CheckpointStore
    new_columns: int = 200
    parents: Mapping[str, ParentRecords] = field(default_factory=dict)
    for_children: ParentRecords | None = None
    since: str | None = None
    whole: tuple[Resource, CheckpointStore] | None = None


class ListingReader:
    """Reads the listing of one resource into files.

    Attributes:
        records: how many records were read so far, those of an earlier attempt included.
        resumed: how many of them an earlier attempt had read.
        started: when its first page was requested.
        parents_done: for how many parents they were read.
        traffic: what it has cost so far.
        checkpoints: where it can be resumed.
    """

    def __init__(
        self, resource: Resource, connection: Connection, options: ReadOptions, log: Callable[[str], None]
    ) -> None:
        self.resource = resource
        self.traffic = Traffic()
        self.records = self.resumed = self.parents_done = self._first_part = 0
        self.started = datetime.now(UTC)
        self._connection = connection
        self._options = options
        self.checkpoints = options.checkpoints
        self._since = options.since
        self._log = log

    @property
    def since(self) -> str | None:
        """From where an incremental listing is asked for; None for a whole one.

        One of a resource with parents is whole if theirs are: they may have been meant to be incremental.
        """
        parents = self._options.parents.values()
        return None if parents and all(one.since is None for one in parents) else self._since

    @property
    def parents_total(self) -> int | None:
        """For how many parents the resource is requested; None if it has none, or nobody knows yet."""
        ahead = dict.fromkeys(part.parent for part in self.resource.parts[self._first_part :] if part.parent)
        totals = [self._options.parents[name].total for name in ahead]
        return sum(filter(None, totals)) if totals and None not in totals else None

    def read(self) -> Spooled:
        """Return the whole listing; what an earlier attempt has read is not requested again.

        Raises:
            CrmError: it could not be read to its end.
            Cancelled: somebody ended the run.
        """
        children = self._options.for_children
        try:
            spooled = self._read_or_fall_back()
        except Exception as error:
            if children:
                children.finish(own_error(error, self.resource.name))
            raise
        if children:
            children.finish()
        return spooled

    def _read_or_fall_back(self) -> Spooled:
        """Read what is new, or everything where the CRM refuses to say what is new."""
        if self._options.whole is None:
            return self._read_or_resume()
        whole, checkpoints = self._options.whole
        if not checkpoints.find():
            try:
                return self._read_or_resume()
            except CrmError as error:
                if not is_refusal(error):
                    raise
                self._log(f"{self.resource.name}: the CRM does not say what is new ({error.why}); listing everything.")
                if self._options.for_children:
                    self._options.for_children.give_up()
                self.checkpoints.clear()
        self.resource, self.checkpoints, self._since = whole, checkpoints, None
        return self._read_or_resume()

    def _read_or_resume(self) -> Spooled:
        if not self.resource.has_pages:
            return self._read(self._options.directory, None)
        try:
            return self._resume() or self._read(self.checkpoints.start(), None)
        except Exception as error:
            if not _is_resumable(own_error(error, self.resource.name)):
                self.checkpoints.clear()
            raise

    def _resume(self) -> Spooled | None:
        """Return the listing that broke off, read to its end; None if there is none or the CRM does not take it up."""
        found = self.checkpoints.find()
        if not found:
            return None
        folder, checkpoint = found
        name = self.resource.name
        self._log(
            f"{name}: resuming the interrupted listing after {counted(checkpoint.records, 'record')}; "
            f"it started at {checkpoint.started:%H:%M} UTC."
        )
        try:
            return self._read(folder, checkpoint)
        except _NothingFollows:
            pass
        except Exception as error:
            if not self._may_be_stale(own_error(error, name)):
                raise
        self._log(f"{name}: the listing could not be resumed; reading it from the start.")
        return None

    def _may_be_stale(self, error: CrmAssetsError) -> bool:
        """Return whether the very first request of the resumed listing failed: its cursor may be what is refused.

        Whatever the CRM said, the first page tells: it is asked for without one.
        """
        came = self.traffic.pages > 0
        return not (came or self.resource.parents or isinstance(error, Cancelled | DiskError))

    def _read(self, folder: Path, checkpoint: Checkpoint | None) -> Spooled:
        self.started = started = checkpoint.started if checkpoint else datetime.now(UTC)
        position = checkpoint.position if checkpoint else Position()
        self.records = self.resumed = checkpoint.records if checkpoint else 0
        self.parents_done, self._first_part = 0, position.part
        spool = ListingSpool(
            folder,
            self.resource.name,
            self.resource.columns,
            key=self.resource.key,
            new_columns=self._options.new_columns,
            collected=tuple(map(column_name, self.resource.collected)),
            may_repeat=self.resource.may_repeat,
            traffic=self.traffic,
            written=checkpoint.written if checkpoint else None,
        )
        children = self._options.for_children
        if children:
            children.begin(folder, position.parents_bytes, self._since)
        parts = _Parts(self, self._connection, folder, position, self._options.parents)
        batch = _Batch(self.traffic)

        def write(records: list[Any], reached: Position | None, count: int) -> None:
            for first in range(0, len(records) or 1, BATCH_RECORDS):
                spool.add(records[first : first + BATCH_RECORDS])
            if reached and self.resource.has_pages:
                self.checkpoints.save(folder, started, reached, count, spool.state())

        def hand_over() -> None:
            if children:
                children.add(batch.records)
            if reached := parts.position():
                reached = replace(reached, parents_bytes=children.bytes if children else 0)
            writer.do(write, batch.records, reached, self.records)
            batch.empty()

        with OneBehind(self._options.writer) as writer:
            try:
                for records in parts:
                    self.records += len(records)
                    batch.records += records
                    if batch.is_due():
                        hand_over()
            except OSError:
                raise
            except Exception:
                if batch.records:
                    hand_over()
                raise
            hand_over()
        return spool.complete(parts.total)


class _NothingFollows(Exception):
    """A listing that is resumed has an empty page: an old cursor may be the reason."""


def _is_resumable(error: CrmAssetsError) -> bool:
    # What is there may be what fills the disk.
    return error.reason != "disk" and getattr(error, "resumable", True)


class _Parts:
    """A listing, endpoint by endpoint."""

    def __init__(
        self,
        reader: ListingReader,
        connection: Connection,
        folder: Path,
        position: Position,
        parents: Mapping[str, ParentRecords],
    ) -> None:
        self._reader = reader
        self._connection = connection
        self._folder = folder
        self._start = position
        self._parents = parents
        self._number = position.part
        self._part: _Pages | _Families | None = None
        self._is_counted = not position.part
        self._total = 0

    @property
    def total(self) -> int | None:
        """How many records the CRM says that there are; None if it has not said so of all parts."""
        return self._total if self._is_counted else None

    def __iter__(self) -> Iterator[list[Any]]:
        resource = self._reader.resource
        for number in range(self._start.part, len(resource.parts)):
            self._number = number
            is_resumed = number == self._start.part
            self._part = self._open(resource.parts[number], self._start if is_resumed else Position())
            yield from self._part
            self._is_counted &= self._part.total is not None or not self._part.has_records
            self._total += self._part.total or 0

    def position(self) -> Position | None:
        """Return how far it is, if a checkpoint can say so."""
        reached = self._part.position() if self._part else None
        return replace(reached, part=self._number) if reached else None

    def _open(self, part: Resource, position: Position) -> "_Pages | _Families":
        reader = self._reader
        if part.parent is None:
            before = reader.records if not self._number else 0
            return _Pages(part, self._connection, reader.traffic, position, before)
        done = DoneParents(self._folder / f"{part.name}.{self._number}.done", position.done_bytes)
        return _Families(reader, part, self._connection, done, self._parents[part.parent])


class _Pages:
    """A listing page by page."""

    def __init__(
        self, resource: Resource, connection: Connection, traffic: Traffic, position: Position, records: int
    ) -> None:
        self._pages = read_pages(resource, connection, traffic, position.next_request, records_before=records)
        self._connection = connection
        self._is_resumable = is_resumable(paginator_of(resource, connection))
        # Windows of time may well be empty.
        self._needs_records = position.next_request is not None and resource.paginator_type != "time_window"
        self._next_request: NextRequest | None = None
        self.total: int | None = None
        self.has_records = False

    def __iter__(self) -> Iterator[list[Any]]:
        for page in self._pages:
            self._next_request = page.next_request
            self.has_records |= bool(page.records)
            if self.total is None or page.total is not None:
                self.total = page.count if page.total is None else page.total
            yield page.records
        if self._needs_records and not self.has_records:
            raise _NothingFollows

    def position(self) -> Position | None:
        """Return how far it is, if a checkpoint can say so."""
        request = self._next_request
        if request is None or not self._is_resumable:
            return None
        text = str(request)
        # A cursor that echoes the login does not go to disk.
        return Position(request) if self._connection.redacted(text) == text else None


class _Families:
    """A listing parent by parent."""

    def __init__(
        self,
        reader: ListingReader,
        resource: Resource,
        connection: Connection,
        done: DoneParents,
        parents: ParentRecords,
    ) -> None:
        self._reader = reader
        self._resource = resource
        self._connection = connection
        self._done = done
        self._parents = parents
        self._total = 0
        self._is_counted = len(done) == 0
        self.has_records = False
        reader.parents_done += len(done)

    @property
    def total(self) -> int | None:
        """How many records the CRM says that the parents have; None if it has not said so of each that has some."""
        return self._total if self._is_counted else None

    def __iter__(self) -> Iterator[list[Any]]:
        reader = self._reader
        parents = self._done.missing(self._parents)
        for family in read_families(self._resource, self._connection, reader.traffic, parents):
            self._done.add(family.parent)
            self._is_counted &= family.count is not None or not family.records
            self.has_records |= bool(family.records)
            self._total += family.count or 0
            reader.parents_done += 1
            yield family.records

    def position(self) -> Position:
        """Return how far it is."""
        return Position(done_bytes=self._done.write())


class _Batch:
    """Records that wait to be written."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._bytes = traffic.bytes
        self._since = monotonic()
        self.records: list[Any] = []

    def is_due(self) -> bool:
        return (
            len(self.records) >= BATCH_RECORDS
            or self._traffic.bytes - self._bytes >= BATCH_BYTES
            or monotonic() - self._since >= BATCH_SECONDS
        )

    def empty(self) -> None:
        self.records = []
        self._bytes, self._since = self._traffic.bytes, monotonic()
