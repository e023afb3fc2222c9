"""How far a listing was when it broke off, so that the next attempt can resume it."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from crm_assets.extract.paginators import NextRequest
from crm_assets.extract.spool import SpoolState, is_whole

_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Position:
    """How far a listing is."""

    next_request: NextRequest | None = None
    """The request for the page that follows; None for an endpoint with a parent."""
    done_bytes: int = 0
    """How much of the file of those parents counts that are done."""
    part: int = 0
    """At which of the resource's endpoints it is, from 0."""
    parents_bytes: int = 0
    """How much of the file counts in which the resource's own children find their parents."""


@dataclass(frozen=True)
class Checkpoint:
    """The place in a listing up to which everything is on disk.

    `source_id` says whose listing it is: one of another CRM, login, page size or model is not resumed.
    """

    source_id: str
    started: AwareDatetime
    """When its first page was requested."""
    position: Position
    records: int
    written: SpoolState


_CHECKPOINT = TypeAdapter(Checkpoint)


class CheckpointStore:
    """Keeps the unfinished listing of one table: a folder per start, each with its files and a checkpoint.

    Only the run that has locked the table may use it.

    Args:
        path: folder of the table.
        source_id: whose listing is read.
        max_age: seconds after its start during which a listing may be resumed.
    """

    def __init__(self, path: Path, source_id: str, max_age: float) -> None:
        self._path = path
        self._source_id = source_id
        self._max_age = timedelta(seconds=max_age)

    def find(self) -> tuple[Path, Checkpoint] | None:
        """Return the folder and the checkpoint of the listing that can be resumed."""
        for folder in sorted(self._folders(), reverse=True):
            checkpoint = self._usable(folder)
            if checkpoint and is_whole(folder, checkpoint.written):
                return folder, checkpoint
        return None

    def start(self) -> Path:
        """Return a new folder. A listing that can be resumed stays until the new one has a checkpoint of its own."""
        for folder in list(self._folders()):
            if not self._usable(folder):
                shutil.rmtree(folder, ignore_errors=True)
        new = self._path / str(max((int(folder.name) for folder in self._folders()), default=0) + 1)
        new.mkdir(parents=True)
        return new

    def save(self, folder: Path, started: datetime, position: Position, records: int, written: SpoolState) -> None:
        """Keep how far the listing in `folder` is, and remove the others."""
        checkpoint = Checkpoint(self._source_id, started, position, records, written)
        fresh = folder / f"{_FILE}.new"
        fresh.write_bytes(orjson.dumps(asdict(checkpoint)))
        fresh.replace(folder / _FILE)
        for other in self._folders():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything: the listing is loaded, or nothing of it can be used."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        return (path for path in self._path.glob("*") if path.name.isdigit())

    def _usable(self, folder: Path) -> Checkpoint | None:
        try:
            checkpoint = _CHECKPOINT.validate_json((folder / _FILE).read_bytes())
        except (OSError, ValidationError):
            return None
        is_young = datetime.now(UTC) - checkpoint.started < self._max_age
        return checkpoint if is_young and checkpoint.source_id == self._source_id else None
