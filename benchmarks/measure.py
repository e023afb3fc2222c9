"""What a command costs: run it, and write that down as JSON.

    python -S benchmarks/measure.py RESULT.json PATIENCE COMMAND...

A small program with nothing but the standard library, because Linux counts the memory of the process that starts
another one as if the other had used it. Seconds are those of the clock from start to end; CPU seconds, user and
system, are of the command and all that it waited for. `largest` is the most resident memory that any one process had,
as the kernel says (ru_maxrss). `tree` is the most that all processes alive at once had together, looked at every
50 ms; memory that they share counts for each, and a process that lives for less than half a second may not.

A command that has not ended after PATIENCE seconds is killed with all its processes, and its status is null.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY = 0.05
SEARCHED_EVERY = 10
"""Looks from one search for new processes to the next, which costs more than a look."""
PAGE = os.sysconf("SC_PAGESIZE")


def tree_of(root: int) -> set[int]:
    """Return a process and all that it and these started and that live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, new = set[int](), [root]
    while new:
        found.update(new)
        new = [child for parent in new for child in children.get(parent, [])]
    return found


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


class Sampler(threading.Thread):
    """Looks at a process and its descendants until stopped.

    Attributes:
        tree: the most bytes that all had together.
        processes: how many were alive then.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.tree = 0
        self.processes = 1
        self.stopped = threading.Event()
        self._root = root

    def run(self) -> None:
        """Look at even intervals."""
        known, looks = {self._root}, 0
        while not self.stopped.wait(EVERY):
            looks += 1
            each = list(filter(None, map(resident, known)))
            if sum(each) > self.tree:
                self.tree, self.processes = sum(each), len(each)
            if (
                looks % SEARCHED_EVERY == 0
            ):  # after the look: what is just being started still shows its parent's memory
                known = tree_of(self._root)


def main(result: str, patience: str, *command: str) -> None:
    """Run `command` for at most `patience` seconds and write what it cost to the file `result`."""
    started = time.time()
    clock = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True)
    impatient = threading.Timer(float(patience), os.killpg, (process.pid, signal.SIGKILL))
    impatient.start()
    sampler = Sampler(process.pid)
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - clock
    in_time = not impatient.finished.is_set()
    impatient.cancel()
    sampler.stopped.set()
    sampler.join()
    Path(result).write_text(
        json.dumps(
            {
                "started": started,
                "seconds": seconds,
                "cpu": usage.ru_utime + usage.ru_stime,
                "largest": usage.ru_maxrss * 1024,
                "tree": sampler.tree,
                "processes": sampler.processes,
                "status": os.waitstatus_to_exitcode(status) if in_time else None,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
