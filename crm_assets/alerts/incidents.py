"""Incidents: what is wrong since when, so that people hear of each once, and once more when it is over."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

Kind = Literal["run", "check", "freshness"]


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong at the moment.

    Troubles of one kind with one `cause`, such as the run that failed, are one incident.
    """

    since: datetime
    cause: str
    text: str
    run_id: str | None = None


Subject = tuple[Kind, str]
"""What can be wrong: the kind, and an asset, a check of an asset, or a job."""


class Incident(BaseModel):
    """Troubles of one kind with one cause that came up together."""

    kind: Kind
    subjects: list[str]
    since: datetime
    text: str
    run_id: str | None
    over: datetime | None = None


class Ledger(BaseModel):
    """The incidents that are open, and those of which somebody is still to be told.

    An incident stands in `untold` once for its beginning and once for its end, for each channel.
    """

    open: list[Incident] = []
    untold: dict[str, list[Incident]] = {}

    def see(self, seen: Mapping[Subject, Trouble | None], channels: Collection[str]) -> None:
        """Open incidents for troubles that are new, and close those whose subjects are all well again.

        Args:
            seen: what is wrong with each subject that was looked at; None if nothing is. Incidents of
                subjects that were not looked at stay as they were.
            channels: names of the channels that are to tell.
        """
        self.untold = {channel: self.untold.get(channel, []) for channel in channels}
        for incident in [one for one in self.open if _is_over(one, seen)]:
            self.open.remove(incident)
            self._tell(incident.model_copy(update={"over": datetime.now(UTC)}))
        troubles = {subject: trouble for subject, trouble in seen.items() if trouble and not self._covers(subject)}
        for incident in _incidents(troubles):
            self.open.append(incident)
            self._tell(incident)

    def _covers(self, subject: Subject) -> bool:
        """Return whether an open incident is about `subject`, or about the run that made it out of date."""
        kind, name = subject
        kinds = {kind, "run"} if kind == "freshness" else {kind}
        return any(one.kind in kinds and name in one.subjects for one in self.open)

    def _tell(self, incident: Incident) -> None:
        for waiting in self.untold.values():
            waiting.append(incident)


def _is_over(incident: Incident, seen: Mapping[Subject, Trouble | None]) -> bool:
    subjects: list[Subject] = [(incident.kind, name) for name in incident.subjects]
    return all(subject in seen and seen[subject] is None for subject in subjects)


def _incidents(troubles: Mapping[Subject, Trouble]) -> Iterator[Incident]:
    together: dict[tuple[Kind, str], dict[str, Trouble]] = {}
    for (kind, name), trouble in troubles.items():
        together.setdefault((kind, trouble.cause), {})[name] = trouble
    for (kind, _), group in together.items():
        yield Incident(
            kind=kind,
            subjects=list(group),
            since=min(trouble.since for trouble in group.values()),
            text="\n".join(dict.fromkeys(trouble.text for trouble in group.values())),
            run_id=next(iter(group.values())).run_id,
        )
