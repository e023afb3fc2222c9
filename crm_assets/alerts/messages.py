"""What people are told of an incident: what, since when, which assets, the first lines of the error, where to look."""

from dataclasses import dataclass
from datetime import datetime

from crm_assets.alerts.incidents import Incident
from crm_assets.text import counted, lasting

_FIRST_LINES = 6
_WIDTH = 400


@dataclass(frozen=True)
class Message:
    """One message: a subject of one line, and a body."""

    subject: str
    body: str
    is_over: bool


def message(incident: Incident, base_url: str) -> Message:
    """Return what is said of `incident` at its beginning, or, if it is over, at its end.

    Args:
        incident: what happened.
        base_url: address of the Dagster UI.
    """
    what = _what(incident)
    if incident.over:
        subject = f"Resolved: {what}"
        lines = [f"It lasted {lasting(incident.over - incident.since)}, until {_moment(incident.over)}."]
    else:
        subject = f"CRM: {what}"
        lines = [f"Since {_moment(incident.since)}", *_first_lines(incident.text)]
    return Message(subject, "\n".join([*lines, _link(incident, base_url.rstrip("/"))]), incident.over is not None)


def _what(incident: Incident) -> str:
    subjects = ", ".join(incident.subjects)
    match incident.kind:
        case "run":
            return f"{subjects} did not load" if "/" in incident.subjects[0] else f"{subjects} failed"
        case "check":
            return f"{subjects} {'fails' if len(incident.subjects) == 1 else 'fail'}"
        case "freshness":
            return f"{subjects} {'is' if len(incident.subjects) == 1 else 'are'} out of date"


def _first_lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in lines[:_FIRST_LINES]]
    more = len(lines) - len(shown)
    return [*shown, f"… and {counted(more, 'more line')}"] if more else shown


def _link(incident: Incident, base_url: str) -> str:
    if incident.run_id and not incident.over:
        return f"{base_url}/runs/{incident.run_id}"
    # The end of an incident has nothing to do with the run that failed.
    return f"{base_url}/assets/{incident.subjects[0]}" if "/" in incident.subjects[0] else f"{base_url}/runs"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
