"""Tickets."""

from typing import ClassVar

from pydantic import Field

from crm_assets.models.record import BigInt, Bool, ContactId, Email, Json, Milliseconds, Record, Text


class Ticket(Record):
    """A ticket of the help desk: a question or a problem that somebody sent in."""

    preview: ClassVar[tuple[str, ...]] = (
        "subject",
        "status",
        "priority",
        "requester_name",
        "requester_email",
        "created_time",
    )

    type: Text | None = Field(None, description="Kind of ticket: QUESTION, PROBLEM, INCIDENT or TASK.")
    assigned_time: Milliseconds | None = Field(None, description="When the ticket was last assigned.")
    assigned_to_group: Bool | None = Field(
        None, description="Whether it is assigned to a group rather than to one agent."
    )
    assignee: Json | None = Field(None, description="Agent who works on the ticket.")
    assigneeID: BigInt | None = Field(None, description="Identifier of the agent who works on it.")
    attachments_exists: Bool | None = Field(None, description="Whether files are attached.")
    attachments_existsString: Text | None = Field(None, description="The same as text, for the CRM's search.")
    attachments_list: Json | None = Field(None, description="The attached files.")
    cc_emails: Json | None = Field(None, description="E-mail addresses in copy.")
    closedOn: Text | None = Field(None, description="When the ticket was closed, formatted for display; text.")
    contact: Json | None = Field(None, description="The contact who sent it in, with the main properties.")
    contactID: ContactId | None = Field(
        None, description="Identifier of the contact who sent it in; refers to contacts.id."
    )
    contact_ids: Json | None = Field(None, description="Identifiers of all contacts involved; refer to contacts.id.")
    createdOn: Text | None = Field(
        None,
        description="When the ticket came in, formatted for display; text. For arithmetic see created_time.",
    )
    created_by: Text | None = Field(None, description="Who created it: CUSTOMER, AGENT or SYSTEM.")
    created_time: Milliseconds | None = Field(None, description="When the ticket came in.")
    dueOn: Text | None = Field(None, description="When it is due, formatted for display; text.")
    entity_type: Text | None = Field(None, description="Internal kind of record: ticket.")
    first_notes_text: Text | None = Field(None, description="Text of the first message.")
    first_replied_time: Milliseconds | None = Field(None, description="When an agent first answered.")
    group: Json | None = Field(None, description="Group of agents that is responsible.")
    groupID: BigInt | None = Field(None, description="Identifier of the group that is responsible.")
    html_text: Text | None = Field(None, description="First message as HTML.")
    isPrivate: Bool | None = Field(None, description="Whether only agents may see the ticket.")
    is_compressed: Bool | None = Field(None, description="Whether the CRM stores the text compressed.")
    is_favorite: Bool | None = Field(None, description="Whether an agent has marked it as a favourite.")
    is_favoriteString: Text | None = Field(None, description="The same as text, for the CRM's search.")
    is_spam: Bool | None = Field(None, description="Whether it was marked as spam.")
    labels: Json | None = Field(None, description="Labels, as a list.")
    lastUpdatedOn: Text | None = Field(None, description="When the ticket last changed, formatted for display; text.")
    last_agent_replied_time: Milliseconds | None = Field(None, description="When an agent last answered.")
    last_customer_replied_time: Milliseconds | None = Field(None, description="When the customer last answered.")
    last_reply_text: Text | None = Field(None, description="Text of the latest answer.")
    last_requester_name: Text | None = Field(None, description="Name of the person who answered last.")
    last_ticket_notes: Json | None = Field(None, description="The latest message; times inside are epoch milliseconds.")
    last_updated_by: Text | None = Field(None, description="Who changed it last: CUSTOMER, AGENT or SYSTEM.")
    last_updated_time: Milliseconds | None = Field(None, description="When the ticket last changed.")
    no_of_reopens: BigInt | None = Field(None, description="How often it was opened again after it had been closed.")
    priority: Text | None = Field(None, description="Priority: LOW, MEDIUM, HIGH or URGENT.")
    priorityName: Text | None = Field(None, description="Priority, formatted for display.")
    requester_email: Email | None = Field(None, description="E-mail address of the person who sent it in.")
    requester_ip_address: Text | None = Field(None, description="IP address that it was sent from.")
    requester_name: Text | None = Field(None, description="Name of the person who sent it in.")
    source: Text | None = Field(None, description="Channel that it came through: EMAIL, WEB_FORM, API.")
    sourceFrom: Text | None = Field(None, description="The same channel, formatted for display.")
    status: Text | None = Field(None, description="State: NEW, OPEN, PENDING or CLOSED.")
    statusName: Text | None = Field(None, description="Status, formatted for display.")
    stringTicketID: Text | None = Field(None, description="Identifier as text, for the CRM's search.")
    subject: Text | None = Field(None, description="Subject line.")
    user_replies_count: BigInt | None = Field(None, description="How often the customer has answered.")
