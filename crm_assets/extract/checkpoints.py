"""How far a listing was when it broke off, so that the next attempt can go on from there."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from crm_assets.errors import TableLocked
from crm_assets.extract.connection import Connection
from crm_assets.extract.spool import SpoolState, is_whole
from crm_assets.load.table_locks import table_locks

_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """The place in a listing up to which everything is on disk.

    `source_id` says whose listing it is: one of another CRM, login or page size is not gone on with.
    """

    source_id: str
    began: AwareDatetime
    """When its first page was asked for."""
    cursor: str
    """Where the next page begins."""
    records: int
    written: SpoolState


_BOOKMARK = TypeAdapter(Checkpoint)


class CheckpointStore:
    """Keeps the unfinished listing of one table: a folder per beginning, each with its files and a checkpoint.

    Only the run that has the table's turn may use it.

    Args:
        path: folder of the table.
        source_id: whose listing is read.
        max_age: seconds after its begin during which a listing may be gone on with.
    """

    def __init__(self, path: Path, source_id: str, max_age: float) -> None:
        self._path = path
        self._source_id = source_id
        self._max_age = max_age

    def find(self) -> tuple[Path, Checkpoint] | None:
        """Return the folder and the checkpoint of the listing that can be gone on with."""
        for folder in sorted(self._folders(), reverse=True):
            checkpoint = _read(folder)
            if (
                checkpoint is None
                or checkpoint.source_id != self._source_id
                or not _is_young(checkpoint, self._max_age)
            ):
                continue
            if is_whole(folder, checkpoint.written):
                return folder, checkpoint
        return None

    def begin(self) -> Path:
        """Return a new folder. A listing with a checkpoint stays until the new one has a checkpoint of its own."""
        for one in list(self._folders()):
            if _read(one) is None:
                shutil.rmtree(one, ignore_errors=True)
        folder = self._path / str(max((int(one.name) for one in self._folders()), default=0) + 1)
        folder.mkdir(parents=True)
        return folder

    def put(self, folder: Path, began: datetime, cursor: str, records: int, written: SpoolState) -> None:
        """Keep how far the listing in `folder` is, and forget what lies in others."""
        checkpoint = Checkpoint(self._source_id, began, cursor, records, written)
        fresh = folder / f"{_FILE}.new"
        fresh.write_bytes(orjson.dumps(asdict(checkpoint)))
        fresh.replace(folder / _FILE)
        for other in self._folders():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def clear(self) -> None:
        """Forget everything: the listing is loaded."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        return _folders(self._path)


def source_id(connection: Connection) -> str:
    """Return whose listings `connection` reads, without telling the login."""
    account = f"{connection.base_url}\n{connection.email}\n{connection.page_size}"
    return sha256(account.encode()).hexdigest()[:16]


def prune_checkpoints(folder_of_all: Path, locks: Path, max_age: Callable[[str], float]) -> None:
    """Remove the listings that may not be gone on with any more and that no run is reading.

    Args:
        folder_of_all: folder of the folders of all tables.
        locks: where the turns of the tables are.
        max_age: for the name of such a folder, seconds after its begin during which a listing may be gone on with.
    """
    for path in folder_of_all.glob("*"):
        bookmarks = map(_read, _folders(path))
        if any(checkpoint and _is_young(checkpoint, max_age(path.name)) for checkpoint in bookmarks):
            continue
        try:
            with table_locks(locks, [path.name], timeout=0, log=lambda _: None):
                shutil.rmtree(path, ignore_errors=True)
        except TableLocked:
            continue


def _folders(path: Path) -> Iterator[Path]:
    return (one for one in path.glob("*") if one.name.isdigit())


def _is_young(checkpoint: Checkpoint, max_age: float) -> bool:
    return datetime.now(UTC) - checkpoint.began < timedelta(seconds=max_age)


def _read(folder: Path) -> Checkpoint | None:
    try:
        return _BOOKMARK.validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
