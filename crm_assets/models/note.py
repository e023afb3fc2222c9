"""Notes."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import BigInt, ContactIds, Json, Record, Seconds, Text


class Note(Record):
    """A note that a user wrote about contacts or deals."""

    preview: ClassVar[tuple[str, ...]] = ("subject", "description", "created_time")

    description: Text | None = Field(None, description="Text of the note.")
    contact_ids: ContactIds | None = Field(
        None, description="Identifiers of the contacts that the note is about, as text; refer to contacts.id."
    )
    contacts: Json | None = Field(None, description="The contacts that the note is about, with their main properties.")
    count: BigInt | None = Field(
        None,
        description="Number of notes in the list, on its first record only. Not a fact about the note.",
    )
    created_time: Seconds | None = Field(None, description="When the note was written.")
    deal_ids: Json | None = Field(
        None, description="Identifiers of the deals that the note is about; refer to deals.id."
    )
    domainOwner: Json | None = Field(None, description="User who wrote the note.")
    entity_type: Text | None = Field(None, description="Internal kind of record: note.")
    subject: Text | None = Field(None, description="Subject line of the note.")
