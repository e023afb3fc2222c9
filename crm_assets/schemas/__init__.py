"""What a record is: one Pydantic model per resource, the one source of truth for its table."""

from crm_assets.schemas.campaign import Campaign
from crm_assets.schemas.company import Company
from crm_assets.schemas.contact import Contact
from crm_assets.schemas.deal import Deal
from crm_assets.schemas.document import Document
from crm_assets.schemas.event import Event
from crm_assets.schemas.milestone import Milestone
from crm_assets.schemas.note import Note
from crm_assets.schemas.record import Record
from crm_assets.schemas.task import Task
from crm_assets.schemas.ticket import Ticket
from crm_assets.schemas.ticket_filter import TicketFilter

MODELS: dict[str, type[Record]] = {
    "contacts": Contact,
    "companies": Company,
    "deals": Deal,
    "notes": Note,
    "tasks": Task,
    "events": Event,
    "milestone": Milestone,
    "campaigns": Campaign,
    "documents": Document,
    "ticket_filters": TicketFilter,
    "tickets": Ticket,
}
"""The model of each resource, by the resource's name."""
