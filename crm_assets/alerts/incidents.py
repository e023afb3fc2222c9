"""Incidents: what is wrong since when, so that people hear of each once, and once more when it is over."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from crm_assets.errors import Reason

Kind = Literal["run", "check", "freshness"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong at the moment.

    Troubles of one kind with one `cause`, such as the run that failed, are one incident.
    """

    since: datetime
    cause: str
    text: str
    run_id: str | None = None
    reason: Reason | None = None
    """What kind of help is needed, if that is known."""


_UNSEEN = object()

Subject = tuple[Kind, str]
"""What can be wrong: the kind, and an asset, a check of an asset, or a job."""


class Incident(BaseModel):
    """Troubles of one kind with one cause that came up together.

    `failing` are those of its subjects that are not well again, each with the kind of help that it needs.
    """

    kind: Kind
    subjects: list[str]
    failing: dict[str, Reason | None] = {}
    since: datetime
    text: str
    run_id: str | None
    over: datetime | None = None


class Ledger(BaseModel):
    """The incidents that are open, and those of which somebody is still to be told.

    An incident stands in `pending` once for its beginning and once for its end, for each channel.
    """

    open: list[Incident] = []
    pending: dict[str, list[Incident]] = {}

    def see(self, seen: Mapping[Subject, Problem | None], channels: Collection[str]) -> None:
        """Open incidents for troubles that are new, and close those whose subjects are all well again.

        A subject that was well and fails again is new trouble, and so is one that needs other help than before.

        Args:
            seen: what is wrong with each subject that was looked at; None if nothing is. Incidents of
                subjects that were not looked at stay as they were.
            channels: names of the channels that are to tell.
        """
        self.pending = {channel: self.pending.get(channel, []) for channel in channels}
        for incident in list(self.open):
            for name in [name for name in incident.failing if seen.get((incident.kind, name), _UNSEEN) is None]:
                del incident.failing[name]
            if not incident.failing:
                self.open.remove(incident)
                self._tell(incident.model_copy(update={"over": datetime.now(UTC)}))
        new = {subject: trouble for subject, trouble in seen.items() if trouble and self._is_new(subject, trouble)}
        for kind, name in new:
            self._forget(kind, name)
        for incident in _incidents(new):
            self.open.append(incident)
            self._tell(incident)

    def subjects(self) -> set[Subject]:
        """Return what the open incidents wait for."""
        return {(incident.kind, name) for incident in self.open for name in incident.failing}

    def _is_new(self, subject: Subject, trouble: Problem) -> bool:
        """Return whether no open incident is about `subject`, or about the run that made it out of date.

        A CRM that is away mends itself; when something else comes after that, somebody is needed.
        """
        kind, name = subject
        kinds = {kind, "run"} if kind == "freshness" else {kind}
        known = [one.failing[name] for one in self.open if one.kind in kinds and name in one.failing]
        return all(trouble.reason not in (None, "unavailable", reason) for reason in known)

    def _forget(self, kind: Kind, name: str) -> None:
        for incident in list(self.open):
            if incident.kind == kind and name in incident.failing:
                del incident.failing[name]
                if not incident.failing:
                    self.open.remove(incident)

    def _tell(self, incident: Incident) -> None:
        for waiting in self.pending.values():
            waiting.append(incident)


def _incidents(troubles: Mapping[Subject, Problem]) -> Iterator[Incident]:
    together: dict[tuple[Kind, str], dict[str, Problem]] = {}
    for (kind, name), trouble in troubles.items():
        together.setdefault((kind, trouble.cause), {})[name] = trouble
    for (kind, _), group in together.items():
        yield Incident(
            kind=kind,
            subjects=list(group),
            failing={name: trouble.reason for name, trouble in group.items()},
            since=min(trouble.since for trouble in group.values()),
            text="\n".join(dict.fromkeys(trouble.text for trouble in group.values())),
            run_id=next(iter(group.values())).run_id,
        )
