"""What can be made to go wrong on purpose: which answer, for which resource, when and how often."""

import re
from dataclasses import dataclass, field, replace
from threading import Event, Lock
from typing import Any, Final

from crm_assets.sandbox.listings import LISTINGS

KINDS: Final = {
    "status": "another status, with an HTML page; also written as the number, 503",
    "error_envelope": 'status 200 with {"error": "..."}',
    "html": "status 200 with an HTML page",
    "half_json": "status 200 with half a JSON document",
    "cut_off": "half of the promised bytes, then the end of the connection",
    "reset": "a reset connection instead of an answer",
    "hang": "no answer until the fault is cleared or the sandbox stops",
    "drip": "the right answer, one byte at a time",
    "null_data": "status 200 with null instead of the list",
    "repeat_cursor": "the right records, with a cursor that leads back to the first page",
    "extra_cursor": "the right records, with a cursor on the last one",
    "redirect": "status 302 to `location`",
}
"""Every kind of fault, and what the client sees."""
EVERY_RESOURCE: Final = "*"

_TIMES = re.compile(r"(?P<kind>[a-z_]+|\d+)(x(?P<times>\w+))?(@(?P<after>\w*))?")
_OK, _LAST_STATUS = 200, 599


class BadFault(ValueError):
    """A fault that cannot be. `field` is the part that is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        resource: whose requests; `*` for each resource.
        kind: what happens; see `KINDS`.
        times: how many requests it spoils; None for all of them.
        after: how many requests are answered well before it begins: 2 spoils the third page.
        status: of the kind `status`.
        body: text of the kinds `status`, `html` and `error_envelope`, instead of the usual one.
        retry_after: header of the kind `status`.
        location: header of the kind `redirect`.
        pause: seconds between two bytes of the kind `drip`.
        release: ends `hang` and `drip`; the right answer follows. Clearing the faults and stopping the
            sandbox set it too.

    Raises:
        BadFault: a value that cannot be. It names the attribute.
    """

    resource: str
    kind: str
    times: int | None = None
    after: int = 0
    status: int = 503
    body: str | None = None
    retry_after: str | None = None
    location: str = "/"
    pause: float = 0.02
    release: Event = field(default_factory=Event, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.resource not in LISTINGS and self.resource != EVERY_RESOURCE:
            raise BadFault("resource", f"unknown resource {self.resource!r}; known: *, {', '.join(LISTINGS)}")
        if self.kind not in KINDS:
            raise BadFault("kind", f"unknown kind {self.kind!r}; known: {', '.join(KINDS)}, or a status such as 503")
        if self.times is not None and not _is_count(self.times, 1):
            raise BadFault("times", f"{self.times!r} is not a number from 1")
        if not _is_count(self.after, 0):
            raise BadFault("after", f"{self.after!r} is not a number from 0")
        if not _is_count(self.status, _OK) or self.status > _LAST_STATUS:
            raise BadFault("status", f"{self.status!r} is not a status from {_OK} to {_LAST_STATUS}")
        if isinstance(self.pause, bool) or not isinstance(self.pause, int | float) or not 0 <= self.pause <= 60:
            raise BadFault("pause", f"{self.pause!r} is not a number of seconds from 0 to 60")
        for name in ("body", "retry_after", "location"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name != "location"):
                raise BadFault(name, f"{value!r} is not text")
        for name in ("retry_after", "location"):
            if not (getattr(self, name) or "").isprintable():
                raise BadFault(name, "a header is one line")

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read a fault from `RESOURCE=KIND[xTIMES][@AFTER][,NAME=VALUE]...`

        KIND is one of `KINDS` or a status; TIMES how many requests it spoils, all by default; AFTER how
        many are answered well first; NAME one of `body`, `retry_after`, `location`, `pause`. So
        `tickets=503`, `tickets=429x2,retry_after=1`, `contacts=resetx1@3`, `*=html`.

        Raises:
            BadFault: names the part that is wrong.
        """
        head, *extras = text.split(",")
        resource, equals, what = head.partition("=")
        match = _TIMES.fullmatch(what)
        if not equals or not match:
            raise BadFault("fault", f"{text!r} is not RESOURCE=KIND[xTIMES][@AFTER][,NAME=VALUE]...")
        kind = match["kind"]
        options: dict[str, Any] = {"kind": kind}
        if kind.isdigit():
            options = {"kind": "status", "status": int(kind)}
        for name in ("times", "after"):
            if match[name] is not None:
                options[name] = _number(name, match[name])
        for extra in extras:
            name, _, value = extra.partition("=")
            if name not in ("body", "retry_after", "location", "pause"):
                raise BadFault(name, f"unknown option of a fault, in {text!r}")
            options[name] = _number(name, value) if name == "pause" else value
        return cls(resource, **options)

    def __str__(self) -> str:
        kind = str(self.status) if self.kind == "status" else self.kind
        times = "" if self.times is None else f"x{self.times}"
        return f"{self.resource}={kind}{times}{f'@{self.after}' if self.after else ''}"


@dataclass
class _Armed:
    fault: Fault
    left: int | None
    good_first: int


class FaultBoard:
    """The faults that are on. Any thread may use it."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._releases: set[Event] = set()
        self._closed = False
        self._lock = Lock()

    def arm(self, fault: Fault) -> None:
        """Switch a fault on; one for every resource counts in each of them."""
        resources = LISTINGS if fault.resource == EVERY_RESOURCE else (fault.resource,)
        with self._lock:
            if self._closed:
                fault.release.set()
            self._releases.add(fault.release)
            self._armed += [
                _Armed(replace(fault, resource=resource), fault.times, fault.after) for resource in resources
            ]

    def clear(self) -> None:
        """Switch every fault off, and let go of the requests that one holds."""
        with self._lock:
            self._armed.clear()
            for release in self._releases:
                release.set()
            self._releases.clear()

    def close(self) -> None:
        """Clear, for good: no fault armed later holds anything."""
        with self._lock:
            self._closed = True
        self.clear()

    def take(self, resource: str) -> Fault | None:
        """Return the fault that spoils this request of `resource`; None if it is to be answered well."""
        with self._lock:
            mine = [armed for armed in self._armed if armed.fault.resource == resource]
            for armed in mine:
                if not armed.good_first:
                    if armed.left is not None:
                        armed.left -= 1
                        if not armed.left:
                            self._armed.remove(armed)
                    return armed.fault
            for armed in mine:
                armed.good_first -= 1
            return None

    def on(self) -> list[Fault]:
        """Return the faults that are on, with the times and good requests that they have left."""
        with self._lock:
            return [replace(armed.fault, times=armed.left, after=armed.good_first) for armed in self._armed]


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(name: str, text: str) -> int | float:
    try:
        return float(text) if name == "pause" else int(text)
    except ValueError:
        raise BadFault(name, f"{text!r} is not a number") from None
