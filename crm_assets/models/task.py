"""Tasks."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import Bool, DealIds, Json, Percent, PlannedSeconds, Record, Seconds, Text


class Task(Record):
    """Something that a user has to do, by a day: a call, an e-mail, a meeting."""

    preview: ClassVar[tuple[str, ...]] = ("subject", "type", "status", "priority_type", "due")

    type: Text | None = Field(
        None, description="Kind of task: CALL, EMAIL, FOLLOW_UP, MEETING, MILESTONE, SEND, TWEET or OTHER."
    )
    contacts: Json | None = Field(None, description="The contacts that the task is about, with their main properties.")
    created_time: Seconds | None = Field(None, description="When the task was created.")
    deal_ids: DealIds | None = Field(
        None, description="Identifiers of the deals that the task belongs to, as text; refer to deals.id."
    )
    deals: Json | None = Field(None, description="The deals that the task belongs to, with their names.")
    due: PlannedSeconds | None = Field(
        None, description="When the task is due. Some lie before 1970: the CRM shifts an unset day by the time zone."
    )
    entity_type: Text | None = Field(None, description="Internal kind of record: task.")
    is_complete: Bool | None = Field(None, description="Whether the task is done.")
    note_ids: Json | None = Field(None, description="Identifiers of the task's notes; refer to notes.id.")
    notes: Json | None = Field(None, description="The task's notes.")
    priority_type: Text | None = Field(None, description="Priority: HIGH, NORMAL or LOW.")
    progress: Percent | None = Field(None, description="How much is done, in percent, 0 to 100.")
    status: Text | None = Field(None, description="State: YET_TO_START, IN_PROGRESS or COMPLETED.")
    subject: Text | None = Field(None, description="What is to be done.")
    taskDescription: Text | None = Field(None, description="Details of what is to be done.")
    taskOwner: Json | None = Field(None, description="User who has to do it.")
    task_completed_time: Seconds | None = Field(None, description="When the task was done.")
    task_start_time: PlannedSeconds | None = Field(None, description="When work on the task began.")
