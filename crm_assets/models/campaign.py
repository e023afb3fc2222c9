"""Campaigns."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import BigInt, Bool, Json, Record, Seconds, Text


class Campaign(Record):
    """An automated campaign: what is sent to whom, and when."""

    preview: ClassVar[tuple[str, ...]] = ("name", "creatorName", "is_disabled", "created_time")

    access_level: BigInt | None = Field(
        None, description="Who may see the campaign: 1 for everybody, otherwise the identifier of a user."
    )
    backupExists: Bool | None = Field(None, description="Whether an earlier version is kept.")
    category: BigInt | None = Field(None, description="Number of the category that the campaign is filed under.")
    count: BigInt | None = Field(
        None,
        description="Number of campaigns in the list, on its first record only. Not a fact about the campaign.",
    )
    created_time: Seconds | None = Field(None, description="When the campaign was created.")
    creatorName: Text | None = Field(None, description="Name of the user who created it.")
    domainUserId: BigInt | None = Field(None, description="Identifier of the user who created it.")
    is_disabled: Bool | None = Field(None, description="Whether the campaign is switched off.")
    name: Text | None = Field(None, description="Name of the campaign.")
    rules: Text | None = Field(None, description="The campaign's steps, as a JSON document in text.")
    trigger: Json | None = Field(None, description="What starts the campaign.")
    unsubscribe: Json | None = Field(None, description="What happens when somebody unsubscribes.")
    updated_time: Seconds | None = Field(None, description="When the campaign last changed; NULL when it never did.")
    updated_time_update: Bool | None = Field(None, description="Whether a save also moves updated_time.")
