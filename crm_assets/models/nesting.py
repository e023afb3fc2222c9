"""Room for values that are nested deeper than Python's usual limit."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_DEEPEST = 3_000
_ONE_AT_A_TIME = Lock()


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Let this process call some thousands of levels deep while the block lasts; the usual limit is 1,000.

    Not more: each level takes some hundred bytes of a thread's stack, and no error comes when that is full.
    """
    with _ONE_AT_A_TIME:
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(max(usual, _DEEPEST))
        try:
            yield
        finally:
            sys.setrecursionlimit(usual)
