"""What the threads of a process allocate, and where."""

import re
import subprocess
import sys

import pytest

THREADS = """
import ctypes, sys
from threading import Barrier, Thread

from crm_assets.extract.heaps import share_heaps
import pyarrow as pa

print(pa.default_memory_pool().backend_name)
share_heaps()
print(pa.default_memory_pool().backend_name)
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
together = Barrier(8)

def allocate():
    together.wait()
    libc.malloc(1000)
    together.wait()

threads = [Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdout.flush()
file = libc.fdopen(1, b"w")
libc.malloc_info(0, file)
libc.fflush(ctypes.c_void_p(file))
"""
"""Eight threads allocate at the same time; glibc says how many heaps there are."""


def run(**environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", THREADS], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
@pytest.mark.parametrize(("environment", "heaps"), [({}, range(1, 3)), ({"MALLOC_ARENA_MAX": "5"}, range(3, 6))])
def test_threads_share_few_heaps_unless_the_environment_says_how_many(
    environment: dict[str, str], heaps: range
) -> None:
    assert len(re.findall("<heap ", run(**environment))) in heaps


def test_arrow_allocates_there_too_from_the_start() -> None:
    assert run().split()[:2] == ["system", "system"]


def test_only_what_arrow_allocates_inside_is_left_to_the_environment() -> None:
    assert run(ARROW_DEFAULT_MEMORY_POOL="mimalloc").split()[:2] == ["mimalloc", "system"]
