"""Companies."""

from crm_assets.models.person import Person


class Company(Person):
    """A company in the CRM. Its name, address and web site are in `properties`."""
