"""Ticket filters."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import BigInt, Bool, Json, Milliseconds, Record, Text


class TicketFilter(Record):
    """A saved view of the help desk: which tickets it shows."""

    preview: ClassVar[tuple[str, ...]] = ("name", "is_default_filter", "updated_time")

    conditions: Json | None = Field(
        None, description="Rules that a ticket must meet, as a list of left-hand side, operator and right-hand side."
    )
    is_default_filter: Bool | None = Field(None, description="Whether the CRM came with this filter.")
    name: Text | None = Field(None, description="Name of the filter.")
    owner_id: BigInt | None = Field(None, description="Identifier of the user who made the filter.")
    ticketGroups: Json | None = Field(None, description="Groups of agents that the filter is limited to.")
    updated_time: Milliseconds | None = Field(None, description="When the filter last changed; NULL when it never did.")
