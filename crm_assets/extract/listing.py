"""Read one listing to its end, page by page, so that it can be resumed wherever it breaks off."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from crm_assets.apis.api import Resource
from crm_assets.errors import Cancelled, CrmAssetsError, CrmError, DiskError, LoginRefused, own_error
from crm_assets.extract.checkpoints import Checkpoint, CheckpointStore
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.pages import Page, read_pages
from crm_assets.extract.paginators import NextRequest
from crm_assets.extract.spool import ListingSpool, Spooled
from crm_assets.text import counted

BATCH_RECORDS = 1_000
BATCH_BYTES = 4 << 20
BATCH_SECONDS = 1.0
"""After so many records, bytes or seconds, what was read goes to disk."""
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class ReadOptions:
    """How a listing is read.

    Args:
        directory: where its files go if it has one page and so cannot be resumed.
        checkpoints: where they go otherwise.
        new_columns: how many undeclared fields get a column each.
    """

    directory: Path
    checkpoints: CheckpointStore
    new_columns: int = 200


class ListingReader:
    """Reads the listing of one resource into files.

    Attributes:
        records: how many records were read so far, those of an earlier attempt included.
        resumed: how many of them an earlier attempt had read.
        traffic: what it has cost so far.
        checkpoints: where it can be resumed.
    """

    def __init__(
        self, resource: Resource, connection: Connection, options: ReadOptions, log: Callable[[str], None]
    ) -> None:
        self.resource = resource
        self.traffic = Traffic()
        self.records = self.resumed = 0
        self._connection = connection
        self._options = options
        self.checkpoints = options.checkpoints
        self._log = log

    def read(self) -> Spooled:
        """Return the whole listing; what an earlier attempt has read is not requested again.

        Raises:
            CrmError: it could not be read to its end.
            Cancelled: somebody ended the run.
        """
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
            spooled = self._read(folder, checkpoint)
            if self.records > self.resumed:  # else the response was an empty page, which would end any listing
                return spooled
        except Exception as error:
            if not self._may_be_stale(own_error(error, name)):
                raise
        self._log(f"{name}: the listing could not be resumed; reading it from the start.")
        return None

    def _may_be_stale(self, error: CrmAssetsError) -> bool:
        """Return whether the very first request of the resumed listing failed, and not for a reason that stays."""
        if self.traffic.pages or isinstance(error, Cancelled | LoginRefused | DiskError):
            return False
        return not (isinstance(error, CrmError) and error.status == _TOO_MANY_REQUESTS)

    def _read(self, folder: Path, checkpoint: Checkpoint | None) -> Spooled:
        started = checkpoint.started if checkpoint else datetime.now(UTC)
        self.records = self.resumed = checkpoint.records if checkpoint else 0
        spool = ListingSpool(
            folder,
            self.resource.name,
            self.resource.columns,
            key=self.resource.key,
            new_columns=self._options.new_columns,
            written=checkpoint.written if checkpoint else None,
        )
        batch = _Batch(self.traffic)

        def write() -> None:
            for first in range(0, len(batch.records) or 1, BATCH_RECORDS):
                spool.add(batch.records[first : first + BATCH_RECORDS])
            if batch.next_request and self._may_be_kept(batch.next_request):
                self.checkpoints.save(folder, started, batch.next_request, self.records, spool.state())
            batch.empty()

        start = checkpoint.next_request if checkpoint else None
        try:
            for page in read_pages(self.resource, self._connection, self.traffic, start):
                self.records += len(page.records)
                batch.add(page)
                if batch.is_due():
                    write()
        except OSError:
            raise
        except Exception:
            if batch.records:
                write()
            raise
        write()
        return spool.complete()

    def _may_be_kept(self, request: NextRequest) -> bool:
        text = str(request)
        return self._connection.redacted(text) == text  # a cursor that echoes the login does not go to disk


def _is_resumable(error: CrmAssetsError) -> bool:
    # What is there may be what fills the disk.
    return error.reason != "disk" and getattr(error, "resumable", True)


class _Batch:
    """Whole pages that wait to be written, and the request for the page after them."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._bytes = traffic.bytes
        self._since = monotonic()
        self.records: list[Any] = []
        self.next_request: NextRequest | None = None

    def add(self, page: Page) -> None:
        self.records += page.records
        self.next_request = page.next_request

    def is_due(self) -> bool:
        return (
            len(self.records) >= BATCH_RECORDS
            or self._traffic.bytes - self._bytes >= BATCH_BYTES
            or monotonic() - self._since >= BATCH_SECONDS
        )

    def empty(self) -> None:
        self.records = []
        self._bytes, self._since = self._traffic.bytes, monotonic()
