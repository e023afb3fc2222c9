"""Contacts."""

from pydantic import Field

from crm_assets.models.person import Person
from crm_assets.models.record import CompanyId, Text


class Contact(Person):
    """A person in the CRM. Names, e-mails and phones are in `properties`."""

    contact_company_id: CompanyId | None = Field(
        None, description="Identifier of the company that the contact works for; refers to companies.id."
    )
    source: Text | None = Field(None, description="Where the contact came from, in words: a form, an import, the API.")
