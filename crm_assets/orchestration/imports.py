"""What a process has imported before a run, and keeps until its end."""

import gc
import sys


def keep_imports() -> None:
    """Let no garbage collection look at what this process has made so far; nothing of Dagster and dlt is garbage.

    At the end of a process Python looks at all of it, several times, for a second. Only the first call does something,
    and none if DuckDB is there already, which complains at the end if its own is not collected.
    """
    if "duckdb" not in sys.modules and not gc.get_freeze_count():
        gc.freeze()
