"""Contacts."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.person import Person
from crm_assets.models.record import CompanyId, Text


class Contact(Person):
    """A person in the CRM. Names, e-mails and phones are in `properties`."""

    preview: ClassVar[tuple[str, ...]] = (
        "properties.first_name",
        "properties.last_name",
        "properties.email",
        "properties.company",
        "lead_score",
        "created_time",
    )

    contact_company_id: CompanyId | None = Field(
        None, description="Identifier of the company that the contact works for; refers to companies.id."
    )
    source: Text | None = Field(None, description="Where the contact came from, in words: a form, an import, the API.")
