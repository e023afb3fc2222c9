"""How far a listing was when it broke off, so that the next attempt can go on from there."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from crm_assets.errors import TableBusy
from crm_assets.extract.connection import Connection
from crm_assets.extract.spool import Written, is_whole
from crm_assets.load.table_locks import turns

_FILE = "bookmark.json"


@dataclass(frozen=True)
class Bookmark:
    """The place in a listing up to which everything is on disk.

    `asked` says whose listing it is: one of another CRM, login or page size is not gone on with.
    """

    asked: str
    began: AwareDatetime
    """When its first page was asked for."""
    cursor: str
    """Where the next page begins."""
    records: int
    written: Written


_BOOKMARK = TypeAdapter(Bookmark)


class Shelf:
    """Keeps the unfinished listing of one table: a folder per beginning, each with its files and a bookmark.

    Only the run that has the table's turn may use it.

    Args:
        path: folder of the table.
        asked: whose listing is read.
        within: seconds after its begin during which a listing may be gone on with.
    """

    def __init__(self, path: Path, asked: str, within: float) -> None:
        self._path = path
        self._asked = asked
        self._within = within

    def find(self) -> tuple[Path, Bookmark] | None:
        """Return the folder and the bookmark of the listing that can be gone on with."""
        for folder in sorted(self._folders(), reverse=True):
            bookmark = _read(folder)
            if bookmark is None or bookmark.asked != self._asked or not _is_young(bookmark, self._within):
                continue
            if is_whole(folder, bookmark.written):
                return folder, bookmark
        return None

    def begin(self) -> Path:
        """Return a new folder. A listing with a bookmark stays until the new one has a bookmark of its own."""
        for one in list(self._folders()):
            if _read(one) is None:
                shutil.rmtree(one, ignore_errors=True)
        folder = self._path / str(max((int(one.name) for one in self._folders()), default=0) + 1)
        folder.mkdir(parents=True)
        return folder

    def put(self, folder: Path, began: datetime, cursor: str, records: int, written: Written) -> None:
        """Keep how far the listing in `folder` is, and forget what lies in others."""
        bookmark = Bookmark(self._asked, began, cursor, records, written)
        fresh = folder / f"{_FILE}.new"
        fresh.write_bytes(orjson.dumps(asdict(bookmark)))
        fresh.replace(folder / _FILE)
        for other in self._folders():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def clear(self) -> None:
        """Forget everything: the listing is loaded."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        return _folders(self._path)


def asked(connection: Connection) -> str:
    """Return whose listings `connection` reads, without telling the login."""
    account = f"{connection.base_url}\n{connection.email}\n{connection.page_size}"
    return sha256(account.encode()).hexdigest()[:16]


def remove_old(shelves: Path, turns_directory: Path, within: Callable[[str], float]) -> None:
    """Remove the listings that may not be gone on with any more and that no run is reading.

    Args:
        shelves: folder of the folders of all tables.
        turns_directory: where the turns of the tables are.
        within: for the name of such a folder, seconds after its begin during which a listing may be gone on with.
    """
    for path in shelves.glob("*"):
        bookmarks = map(_read, _folders(path))
        if any(bookmark and _is_young(bookmark, within(path.name)) for bookmark in bookmarks):
            continue
        try:
            with turns(turns_directory, [path.name], timeout=0, log=lambda _: None):
                shutil.rmtree(path, ignore_errors=True)
        except TableBusy:
            continue


def _folders(path: Path) -> Iterator[Path]:
    return (one for one in path.glob("*") if one.name.isdigit())


def _is_young(bookmark: Bookmark, within: float) -> bool:
    return datetime.now(UTC) - bookmark.began < timedelta(seconds=within)


def _read(folder: Path) -> Bookmark | None:
    try:
        return _BOOKMARK.validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
