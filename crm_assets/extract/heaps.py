"""How the threads of a fetch allocate memory: what one gave back, another can use."""

import ctypes
import os
from contextlib import suppress
from typing import Final

import pyarrow as pa

_M_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""
_ARENAS: Final = 2


def share_heaps() -> None:
    """Let all threads of this process share few heaps; else each has its own, and keeps there what it gave back.

    The variable MALLOC_ARENA_MAX of glibc has its way.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
