"""Shapes of nested values that occur in several resources. They describe; nothing enforces them."""

from typing import Any

from typing_extensions import TypedDict


class User(TypedDict, total=False):
    """A user of the CRM: an owner or an assignee."""

    calendarURL: str
    calendar_url: str
    domain: str
    email: str
    id: int
    name: str
    phone: str
    pic: str
    schedule_id: str


class Property(TypedDict, total=False):
    """One property of a contact or company: a name, an e-mail, a phone, a custom field. A name can repeat."""

    type: str
    name: str
    subtype: str
    value: str


class ContactReference(TypedDict, total=False):
    """A contact as other records mention it."""

    type: str
    id: int
    properties: list[Property]


class DealReference(TypedDict, total=False):
    """A deal as other records mention it."""

    id: int
    name: str


class CampaignStatus(TypedDict, total=False):
    """A campaign that a contact runs through. Times are epoch milliseconds."""

    campaign_id: str
    campaign_name: str
    end_time: int
    start_time: int
    status: str


class TagWithTime(TypedDict, total=False):
    """A tag and when it was given. The time is epoch milliseconds."""

    availableCount: int
    createdTime: int
    entity_type: str
    tag: str


class Viewed(TypedDict, total=False):
    """Who looked at a record last, and when. The time is epoch milliseconds."""

    viewed_time: int
    viewer_id: int


class NoteReference(TypedDict, total=False):
    """A note as a deal carries it."""

    description: str
    contact_ids: list[Any]
    contacts: list[Any]
    created_time: int
    deal_ids: list[Any]
    domainOwner: User
    entity_type: str
    id: int
    subject: str


class CampaignTrigger(TypedDict, total=False):
    """What starts a campaign."""

    campaign: str
    contactFilter: str
    email_tracking_type: str
    event_owner_id: str
    event_type: str
    is_disabled: bool
    new_email_trigger_run_on_new_contacts: bool
    trigger_run_on_new_contacts: bool


class Unsubscribe(TypedDict, total=False):
    """What happens when somebody unsubscribes from a campaign."""

    action: str
    is_unsubscribe_email_disabled: bool
    tag: str
    unsubscribe_email: str
    unsubscribe_name: str
    unsubscribe_subject: str


class Condition(TypedDict, total=False):
    """One rule of a ticket filter: left-hand side, operator, right-hand side."""

    CONDITION: str
    LHS: str
    RHS: str


class Group(TypedDict, total=False):
    """A group of agents of the help desk."""

    group_email: str
    group_name: str
    id: int


class TicketNote(TypedDict, total=False):
    """The latest message of a ticket. The time is epoch milliseconds."""

    created_time: int
    id: int
    plain_text: str
    ticket_notes_assinee: User


class RelatedContact(TypedDict, total=False):
    """A contact as a document carries it: nearly the whole record."""

    type: str
    browserId: list[Any]
    campaignStatus: list[CampaignStatus]
    concurrent_save_allowed: bool
    created_time: int
    emailBounceStatus: list[Any]
    entity_type: str
    formId: int
    id: int
    is_client_import: bool
    is_duplicate_existed: bool
    is_duplicate_verification_failed: bool
    is_lead_converted: bool
    klout_score: str
    last_called: int
    last_campaign_emaild: int
    last_contacted: int
    last_emailed: int
    lead_converted_time: int
    lead_score: int
    lead_source_id: int
    lead_status_id: int
    owner: User
    properties: list[Property]
    restored_time: int
    star_value: int
    tags: list[str]
    tagsWithTime: list[TagWithTime]
    trashed_time: int
    unsubscribeStatus: list[Any]
    updated_time: int
    viewed: Viewed
    viewed_time: int
