"""Documents."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import BigInt, Json, Record, Seconds, Size, Text


class Document(Record):
    """A document that belongs to contacts or deals. The file itself stays where `url` says."""

    preview: ClassVar[tuple[str, ...]] = ("name", "doc_type", "size", "uploaded_time", "url")

    case_ids: Json | None = Field(None, description="Identifiers of the cases that the document belongs to.")
    contact_ids: Json | None = Field(
        None, description="Identifiers of the contacts that it belongs to, as text; refer to contacts.id."
    )
    contacts: Json | None = Field(None, description="The contacts that it belongs to, with their main properties.")
    deal_ids: Json | None = Field(
        None, description="Identifiers of the deals that it belongs to, as text; refer to deals.id."
    )
    deals: Json | None = Field(None, description="The deals that it belongs to, with their names.")
    doc_type: Text | None = Field(None, description="Kind of document, for example SENDDOC.")
    dummy_name: Text | None = Field(None, description="Name that the CRM gave before a user named it.")
    entity_type: Text | None = Field(None, description="Internal kind of record: document.")
    name: Text | None = Field(None, description="Name of the document.")
    network_type: Text | None = Field(None, description="Where the file is stored: GOOGLE, S3 and so on.")
    owner: Json | None = Field(None, description="User who added the document.")
    relatedContacts: Json | None = Field(None, description="The contacts that it belongs to, as nearly whole records.")
    size: Size | None = Field(None, description="Size of the file in bytes.")
    template_type: Text | None = Field(None, description="Kind of template that it was made from.")
    text: Text | None = Field(None, description="Text of the document, for those written in the CRM.")
    update: BigInt | None = Field(None, description="Counter of the document's versions.")
    uploaded_time: Seconds | None = Field(None, description="When the file was uploaded.")
    url: Text | None = Field(None, description="Address of the file.")
