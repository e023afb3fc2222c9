"""Events."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import Bool, Json, PlannedSeconds, Record, Seconds, Text


class Event(Record):
    """An appointment in the calendar of a user."""

    preview: ClassVar[tuple[str, ...]] = ("title", "start", "end")

    title: Text | None = Field(None, description="Title of the appointment.")
    start: PlannedSeconds | None = Field(None, description="When it begins.")
    end: PlannedSeconds | None = Field(None, description="When it ends.")
    allDay: Bool | None = Field(None, description="Whether it takes the whole day.")
    is_event_starred: Bool | None = Field(None, description="Whether the user has starred it.")
    color: Text | None = Field(None, description="Colour in the calendar; the CRM uses it for the priority.")
    created_time: Seconds | None = Field(None, description="When the appointment was made.")
    contacts: Json | None = Field(None, description="The contacts that take part.")
    owner: Json | None = Field(None, description="User in whose calendar it is.")
