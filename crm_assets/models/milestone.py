"""Milestone."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import Bool, Record, Text


class Milestone(Record):
    """A pipeline and its milestones: the track that deals move along."""

    preview: ClassVar[tuple[str, ...]] = ("name", "milestones")

    deals_exist: Bool | None = Field(None, description="Whether any deal is in the pipeline.")
    isDefault: Bool | None = Field(None, description="Whether new deals go into this pipeline.")
    lost_milestone: Text | None = Field(None, description="Name of the milestone that means lost.")
    milestones: Text | None = Field(None, description="Names of the milestones in their order, separated by commas.")
    name: Text | None = Field(None, description="Name of the pipeline.")
    won_milestone: Text | None = Field(None, description="Name of the milestone that means won.")
