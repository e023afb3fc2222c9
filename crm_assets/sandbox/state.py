"""What the threads of one sandbox share."""

from collections import Counter, deque
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import NamedTuple

from crm_assets.sandbox.crm import SandboxCrm
from crm_assets.sandbox.faults import FaultBoard
from crm_assets.sandbox.pages import Pages

MOST_LOGGED = 10_000


class Seen(NamedTuple):
    """One request for a listing, as it arrived."""

    resource: str
    query: dict[str, str]
    user_agent: str
    has_authorization: bool
    port: int
    """Port of the client: two requests with one port came over one connection."""


class Traffic:
    """The requests for listings so far, good and bad. Any thread may use it."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._log: deque[Seen] = deque(maxlen=MOST_LOGGED)
        self._lock = Lock()

    def note(self, seen: Seen) -> None:
        """Count a request and keep it in the log."""
        with self._lock:
            self._requests[seen.resource] += 1
            self._log.append(seen)

    @property
    def requests(self) -> Counter[str]:
        """Number of requests per resource."""
        with self._lock:
            return self._requests.copy()

    @property
    def log(self) -> list[Seen]:
        """The latest requests, oldest first."""
        with self._lock:
            return list(self._log)


@dataclass(frozen=True)
class State:
    """One sandbox, without its network."""

    crm: SandboxCrm
    email: str
    api_key: str = field(repr=False)
    login_is_public: bool = False
    """Whether the page at `/` may tell the login."""
    latency: float = 0.0
    pages: Pages = field(init=False)
    faults: FaultBoard = field(default_factory=FaultBoard)
    traffic: Traffic = field(default_factory=Traffic)
    closing: Event = field(default_factory=Event)
    """Set when the sandbox stops: whoever waits for anything must let go."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pages", Pages(self.crm))
