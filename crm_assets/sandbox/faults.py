"""What can be made to go wrong on purpose: which answer, for which resource, when and how often."""

import re
from dataclasses import field, replace
from threading import Event, Lock
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from crm_assets.sandbox.fault_kinds import KINDS
from crm_assets.sandbox.listings import LISTINGS

EVERY_RESOURCE: Final = "*"

_TEXT: Final = re.compile(
    r"(?P<resource>[^=/]*)(/(?P<parent>[^=]+))?=(?P<kind>[a-z_]+|\d+)(x(?P<times>\d+))?(@(?P<after>\d+))?"
)


class BadFault(ValueError):
    """A fault that cannot be. `field` is the part that is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


def _resource(name: str) -> str:
    if name not in LISTINGS and name != EVERY_RESOURCE:
        raise ValueError(f"unknown resource {name!r}; known: *, {', '.join(LISTINGS)}")
    return name


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"unknown kind {name!r}; known: {', '.join(KINDS)}, or a status such as 503")
    return name


_Header = Annotated[str, Field(pattern=r"^[ -~]*$")]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True))
class Fault:
    """One thing that goes wrong.

    Attributes:
        resource: whose requests; `*` for each resource.
        parent: of these only the requests for what is below the contact, deal or ticket filter with this identifier.
        kind: what happens; see `KINDS`.
        times: how many requests it spoils; None for all of them.
        after: how many requests are answered well before it begins: 2 spoils the third page.
        status: of the kind `status`.
        body: text of the kinds `status`, `html` and `error_envelope`, instead of the usual one.
        retry_after: header of the kind `status`.
        location: header of the kind `redirect`.
        pause: seconds between two bytes of the kind `drip`.
        release: ends `hang` and `drip`; the right answer follows, unless `agilecrm` has hung up. Clearing the
            faults and stopping the sandbox set it too.

    Raises:
        ValidationError: a value that cannot be; names the attribute.
    """

    resource: Annotated[str, AfterValidator(_resource)]
    kind: Annotated[str, AfterValidator(_kind)]
    parent: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    after: Annotated[int, Field(ge=0)] = 0
    status: Annotated[int, Field(ge=200, le=599)] = 503
    body: str | None = None
    retry_after: _Header | None = None
    location: _Header = "/"
    pause: Annotated[float, Field(ge=0, le=60)] = 0.02
    release: Event = field(default_factory=Event, compare=False, repr=False)

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Fault":
        """Return the fault with these attributes, whatever they are.

        Raises:
            BadFault: names the first attribute that is wrong.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadFault(str(first["loc"][0]), f"{first['msg'].removeprefix('Value error, ')}") from None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read a fault from `RESOURCE[/PARENT]=KIND[xTIMES][@AFTER]`: `tickets=503`, `contacts=resetx1@3`, `*=html`.

        PARENT is the identifier of a contact, deal or ticket filter, `notes/981=500`; KIND is one of `KINDS` or a
        status; TIMES how many requests it spoils, all by default; AFTER how many are answered well first.

        Raises:
            BadFault: names the part that is wrong.
        """
        match = _TEXT.fullmatch(text)
        if not match:
            raise BadFault("fault", f"{text!r} is not RESOURCE[/PARENT]=KIND[xTIMES][@AFTER]")
        kind, counts = match["kind"], {name: match[name] for name in ("times", "after") if match[name]}
        what = {"kind": "status", "status": int(kind)} if kind.isdigit() else {"kind": kind}
        whose = {"resource": match["resource"], "parent": match["parent"]}
        return cls.of({**whose, **what, **{name: int(text) for name, text in counts.items()}})

    def __str__(self) -> str:
        kind = str(self.status) if self.kind == "status" else self.kind
        times = "" if self.times is None else f"x{self.times}"
        whose = self.resource if self.parent is None else f"{self.resource}/{self.parent}"
        return f"{whose}={kind}{times}{f'@{self.after}' if self.after else ''}"


class _Armed:
    """A fault that is on, with the times and good answers that it has left."""

    def __init__(self, fault: Fault, resource: str) -> None:
        self.fault, self.resource = fault, resource
        self.left, self.good_first = fault.times, fault.after

    def spoils(self, resource: str, parent: str | None) -> bool:
        return self.resource == resource and self.fault.parent in (None, parent)


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
            self._armed += [_Armed(fault, resource) for resource in resources]

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

    def take(self, resource: str, parent: str | None = None) -> Fault | None:
        """Return the fault that spoils this request of `resource`; None if it is to be answered well.

        Args:
            resource: whose records are asked for.
            parent: identifier of the record whose children are asked for.
        """
        with self._lock:
            mine = [armed for armed in self._armed if armed.spoils(resource, parent)]
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
            return [
                replace(armed.fault, resource=armed.resource, times=armed.left, after=armed.good_first)
                for armed in self._armed
            ]
