"""Read one listing to its end, page by page, so that it can be gone on with wherever it breaks off."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from crm_assets.apis.api_config import ApiConfig, Resource
from crm_assets.errors import Cancelled, CrmError, LoginRefused, unwrap_error
from crm_assets.extract.checkpoints import Checkpoint, CheckpointStore
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.source import crm_resource
from crm_assets.extract.spool import ListingSpool, Spooled

BATCH_RECORDS = 1_000
BATCH_BYTES = 4 << 20
BATCH_SECONDS = 1.0
"""After so many records, bytes or seconds, what was read goes to disk."""
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class ReadOptions:
    """On what options a listing is read.

    Args:
        directory: where its files go if it cannot be gone on with.
        checkpoints: where they go otherwise.
        new_columns: how many undeclared fields get a column each.
    """

    directory: Path
    checkpoints: CheckpointStore
    new_columns: int = 200


class ListingReader:
    """Reads one row of the endpoint table into files.

    Attributes:
        records: how many records were read so far, those of an earlier attempt included.
        resumed: how many of them an earlier attempt had read.
        traffic: what it has cost so far.
        checkpoints: where it can be gone on with.
    """

    def __init__(
        self, table: ApiConfig, row: Resource, connection: Connection, options: ReadOptions, say: Callable[[str], None]
    ) -> None:
        self.resource = row["name"]
        self.traffic = Traffic()
        self.records = self.resumed = 0
        self._table = table
        self._row = row
        self._connection = connection
        self.checkpoints = options.checkpoints
        self._terms = options
        self._say = say
        endpoint = {**table["resource_defaults"]["endpoint"], **row["endpoint"]}
        self._has_pages = endpoint["paginator"]["type"] == "cursor"  # type: ignore[index]

    def read(self) -> Spooled:
        """Return the whole listing; what an earlier attempt has read is not asked for again.

        Raises:
            CrmError: it could not be read to its end.
            Cancelled: somebody ended the run.
        """
        if not self._has_pages:
            return self._read_from(self._terms.directory, None)
        if found := self.checkpoints.find():
            folder, checkpoint = found
            self._say(
                f"{self.resource}: going on after {checkpoint.records:,} records, "
                f"in the listing that broke off; it began at {checkpoint.began:%H:%M} UTC."
            )
            try:
                spooled = self._read_from(folder, checkpoint)
                if self.records > self.resumed:  # else it answered with an empty page, which would end any listing
                    return spooled
            except Exception as error:
                if not self._is_stale(unwrap_error(error)):
                    raise
            self._say(f"{self.resource}: the CRM takes that cursor no more; reading from the beginning.")
        return self._read_from(self.checkpoints.begin(), None)

    def _is_stale(self, error: Exception) -> bool:
        """Return whether the CRM did not take the cursor: it answered the very first request, and not with a page."""
        if self.traffic.pages or not isinstance(error, CrmError) or isinstance(error, LoginRefused):
            return False
        return error.status is not None and error.status != _TOO_MANY_REQUESTS

    def _read_from(self, folder: Path, checkpoint: Checkpoint | None) -> Spooled:
        began = checkpoint.began if checkpoint else datetime.now(UTC)
        start = checkpoint.cursor if checkpoint else None
        written = checkpoint.written if checkpoint else None
        self.records = self.resumed = checkpoint.records if checkpoint else 0
        spool = ListingSpool(folder, self.resource, new_columns=self._terms.new_columns, written=written)
        batch = _Batch(self.traffic)

        def keep(following: str | None) -> None:
            spool.add(batch.records)
            batch.empty()
            if following is not None:
                self.checkpoints.put(folder, began, following, self.records, spool.written())

        pages, following = self.traffic.pages, start
        try:
            for record in crm_resource(self._table, self._row, self._connection, self.traffic, start):
                if self.traffic.pages != pages:  # the first record of a page: what waits are whole pages
                    self._stop_if_cancelled()
                    if batch.is_due():
                        keep(following)
                    pages, following = self.traffic.pages, self.traffic.cursor
                batch.records.append(record)
                self.records += 1
                if not self._has_pages and batch.is_due():
                    keep(None)
        except OSError:
            if self._has_pages:  # what is there may be what fills the disk
                self.checkpoints.clear()
            raise
        except Exception:
            if following != start:
                keep(following)
            raise
        keep(None)
        return spool.complete()

    def _stop_if_cancelled(self) -> None:
        if self._connection.cancelled.is_set():
            raise Cancelled(f"{self.resource}: reading was cancelled.")


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
