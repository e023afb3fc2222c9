"""What contacts and companies have in common."""

from pydantic import Field

from crm_assets.models.record import BigInt, Bool, Json, Record, Seconds, Text


class Person(Record):
    """What contacts and companies share: to the CRM, both are people one can reach."""

    type: Text | None = Field(None, description="PERSON for a contact, COMPANY for a company.")
    browserId: Json | None = Field(
        None, description="Identifiers of the browsers in which the web tracking saw the contact."
    )
    campaignStatus: Json | None = Field(
        None,
        description="Campaigns that the contact runs or ran through, with their state; times in epoch milliseconds.",
    )
    concurrent_save_allowed: Bool | None = Field(
        None, description="Whether two users may save the record at the same time."
    )
    created_time: Seconds | None = Field(None, description="When the record was created.")
    emailBounceStatus: Json | None = Field(None, description="E-mail addresses that bounced, and how.")
    entity_type: Text | None = Field(None, description="Internal kind of record: contact_entity or company_entity.")
    formId: BigInt | None = Field(
        None, description="Identifier of the web form through which the record came in; NULL or 0 for none."
    )
    is_client_import: Bool | None = Field(None, description="Whether a user's own application imported the record.")
    is_duplicate_existed: Bool | None = Field(
        None, description="Whether the CRM holds another record that looks like the same one."
    )
    is_duplicate_verification_failed: Bool | None = Field(
        None, description="Whether the CRM could not check for duplicates when the record was saved."
    )
    is_lead_converted: Bool | None = Field(None, description="Whether the lead has become a contact.")
    klout_score: Text | None = Field(None, description="Social influence score from Klout; a relic, mostly empty.")
    last_called: Seconds | None = Field(None, description="When somebody last called.")
    last_campaign_emaild: Seconds | None = Field(
        None, description="When a campaign last sent an e-mail (the spelling is the CRM's)."
    )
    last_contacted: Seconds | None = Field(None, description="When anybody last got in touch, by any channel.")
    last_emailed: Seconds | None = Field(None, description="When a user last sent an e-mail.")
    lead_converted_time: Seconds | None = Field(None, description="When the lead became a contact.")
    lead_score: BigInt | None = Field(
        None, description="Score that rules and users give; higher means more likely to buy."
    )
    lead_source_id: BigInt | None = Field(None, description="Identifier of the source the lead came from.")
    lead_status_id: BigInt | None = Field(None, description="Identifier of the lead's status.")
    owner: Json | None = Field(None, description="User who is responsible.")
    properties: Json | None = Field(
        None,
        description="Names, e-mails, phones and custom fields, with type, name, subtype, value; names can repeat.",
    )
    restored_time: Seconds | None = Field(None, description="When the record was last brought back from the trash.")
    star_value: BigInt | None = Field(None, description="Rating in stars, 0 to 5.")
    tags: Json | None = Field(None, description="Tags, as a list of text.")
    tagsWithTime: Json | None = Field(
        None, description="Tags with the time at which each was given, in epoch milliseconds."
    )
    trashed_time: Seconds | None = Field(None, description="When the record was put into the trash.")
    unsubscribeStatus: Json | None = Field(None, description="Campaigns that the contact has unsubscribed from.")
    updated_time: Seconds | None = Field(None, description="When the record last changed; NULL when it never did.")
    viewed: Json | None = Field(None, description="Who looked at the record last, and when (epoch milliseconds).")
    viewed_time: Seconds | None = Field(None, description="When a user last looked at the record.")
