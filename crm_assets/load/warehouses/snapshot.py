"""A copy of the DuckDB file for readers: whoever has it open stops no load."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from crm_assets.account import Account
from crm_assets.errors import SettingError
from crm_assets.load.warehouses.destination import duckdb_path, open_destination

_SETTING = "warehouse.snapshot (WAREHOUSE__SNAPSHOT)"


def snapshot_path(account: Account) -> Path | None:
    """Return where the copy of the DuckDB file of `account` goes; None for no copy.

    Raises:
        SettingError: the destination has no file, or the copy cannot be where the setting says.
    """
    if account.warehouse.snapshot is None:
        return None
    file = duckdb_path(open_destination(account.warehouse.destination, account.data_dir))
    if file is None:
        raise SettingError(
            f"{_SETTING} is set, and warehouse.destination is {account.warehouse.destination!r}: "
            "only a DuckDB file can be copied. Unset one of the two."
        )
    path = (account.data_dir.parent / account.warehouse.snapshot).resolve()
    if path == file.resolve():
        raise SettingError(f"{_SETTING} is the DuckDB file of the warehouse itself, {path}. Set another file.")
    if path.stem == account.dataset:
        raise SettingError(
            f"{_SETTING} is {path}, named like the dataset {account.dataset}: DuckDB refuses "
            f"{account.dataset}.contacts in such a file as ambiguous. Give it another name."
        )
    if path.is_dir():
        raise SettingError(f"{_SETTING} is the folder {path}. Set a file in it, such as {path / 'snapshot.duckdb'}.")
    if not path.parent.is_dir() and path.parent != file.resolve().parent:
        raise SettingError(f"{_SETTING} is {path}, and there is no folder {path.parent}. Make it, or set another.")
    return path


def replace_snapshot(source: BinaryIO, path: Path) -> None:
    """Replace the file `path` with a copy of `source` at once: readers of the old one keep it.

    Args:
        source: the DuckDB file, open, with nothing left in its WAL, and nobody writing to it.
        path: the file to be replaced.

    Raises:
        OSError: the copy could not be written; `path` is as it was.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        # What somebody wrote into the old copy and left unfinished must not be applied to the new one.
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
