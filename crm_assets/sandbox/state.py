"""What the threads of one sandbox share."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import NamedTuple

from crm_assets.sandbox.api import Api
from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.faults import FaultBoard


class Seen(NamedTuple):
    """One request for records, as it arrived. Two with one `port` came over one connection.

    `query` has the fields of a form too; `arrived` is in seconds of the monotonic clock.
    """

    resource: str
    path: str
    query: dict[str, str]
    user_agent: str
    port: int
    arrived: float


@dataclass
class State:
    """One sandbox, without its network."""

    crm: SandboxCrm
    email: str
    api_key: str = field(repr=False)
    login_is_public: bool
    """Whether the page at `/` may tell the login."""
    latency: float
    apis: Sequence[Api]
    faults: FaultBoard = field(default_factory=FaultBoard)
    requests: Counter[str] = field(default_factory=Counter)
    log: deque[Seen] = field(default_factory=lambda: deque(maxlen=10_000))
    lock: Lock = field(default_factory=Lock)
    closing: Event = field(default_factory=Event)
    """Set when the sandbox stops: whoever waits for anything must let go."""

    def note(self, seen: Seen) -> None:
        """Count a request and keep it in the log."""
        with self.lock:
            self.requests[seen.resource] += 1
            self.log.append(seen)
