"""Companies."""

from typing import ClassVar

from crm_assets.models.person import Person


class Company(Person):
    """A company in the CRM. Its name, address and web site are in `properties`."""

    preview: ClassVar[tuple[str, ...]] = (
        "properties.name",
        "properties.url",
        "properties.phone",
        "lead_score",
        "created_time",
    )
