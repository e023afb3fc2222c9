"""Deals."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import (
    Amount,
    BigInt,
    Bool,
    ContactIds,
    Json,
    Percent,
    PlannedSeconds,
    Record,
    Seconds,
    Text,
)


class Deal(Record):
    """A deal: something that may be sold, on its way through the milestones of a pipeline."""

    preview: ClassVar[tuple[str, ...]] = ("name", "milestone", "expected_value", "probability", "close_date")

    description: Text | None = Field(None, description="What the deal is about.")
    apply_discount: Bool | None = Field(None, description="Whether the discount is taken off the total.")
    archived: Bool | None = Field(None, description="Whether the deal has been archived and left the board.")
    close_date: PlannedSeconds | None = Field(
        None, description="Day on which the deal is expected to close; set by its owner."
    )
    colorName: Text | None = Field(None, description="Colour of the deal's card on the board.")
    contact_ids: ContactIds | None = Field(
        None, description="Identifiers of the contacts involved, as text; refer to contacts.id."
    )
    contacts: Json | None = Field(None, description="The contacts involved, with their main properties.")
    created_time: Seconds | None = Field(None, description="When the deal was created.")
    currency_conversion_value: Amount | None = Field(
        None, description="Value in the account's currency, after conversion."
    )
    custom_data: Json | None = Field(None, description="Custom fields, as a list of name and value.")
    deal_source_id: BigInt | None = Field(None, description="Identifier of the source the deal came from.")
    discount_amt: Amount | None = Field(None, description="Discount as an amount of money.")
    discount_type: Text | None = Field(None, description="How discount_value is meant: Value or Percent.")
    discount_value: Amount | None = Field(None, description="Discount as entered; see discount_type.")
    entity_type: Text | None = Field(None, description="Internal kind of record: deal.")
    expected_value: Amount | None = Field(None, description="Value that the owner expects, in the account's currency.")
    isCurrencyUpdateRequired: Bool | None = Field(None, description="Whether the converted value is out of date.")
    lost_reason_id: BigInt | None = Field(None, description="Identifier of the reason for which the deal was lost.")
    milestone: Text | None = Field(
        None, description="Name of the milestone that the deal stands at; one of its pipeline's milestones."
    )
    milestone_changed_time: Seconds | None = Field(None, description="When the deal last moved to another milestone.")
    name: Text | None = Field(None, description="Name of the deal.")
    note_created_time: Seconds | None = Field(None, description="When the latest note was written.")
    note_ids: Json | None = Field(None, description="Identifiers of the deal's notes, as text; refer to notes.id.")
    notes: Json | None = Field(None, description="The deal's notes, in full.")
    owner: Json | None = Field(None, description="User who is responsible for the deal.")
    pipeline_id: BigInt | None = Field(None, description="Identifier of the pipeline; refers to milestone.id.")
    probability: Percent | None = Field(None, description="Chance of winning, in percent, 0 to 100.")
    products: Json | None = Field(None, description="Products in the deal, with quantity and price.")
    tags: Json | None = Field(None, description="Tags, as a list.")
    tagsWithTime: Json | None = Field(None, description="Tags with the time at which each was given.")
    total_deal_value: Amount | None = Field(None, description="Sum over the products, less the discount.")
    updated_time: Seconds | None = Field(None, description="When the deal last changed; NULL when it never did.")
    won_date: Seconds | None = Field(None, description="When the deal was won.")
