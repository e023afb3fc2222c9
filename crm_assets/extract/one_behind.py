"""Work on another thread, one piece at a time: the next page is asked for while the last ones are converted."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, Self

Arguments = ParamSpec("Arguments")


class OneBehind:
    """Has one piece of work after the other done by `executor`, and is never more than one behind.

    What a piece of work raises is raised when the next one is handed over, or at the end.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._last: Future[None] | None = None

    def do(self, work: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Wait for the last piece of work, and hand over the next one."""
        self._wait()
        self._last = self._executor.submit(work, *args, **kwargs)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
