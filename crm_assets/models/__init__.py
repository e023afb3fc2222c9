"""What a record is: one Pydantic model per resource, the one source of truth for its table."""

from crm_assets.models.campaign import Campaign
from crm_assets.models.company import Company
from crm_assets.models.contact import Contact
from crm_assets.models.deal import Deal
from crm_assets.models.document import Document
from crm_assets.models.event import Event
from crm_assets.models.milestone import Milestone
from crm_assets.models.note import Note
from crm_assets.models.record import Record
from crm_assets.models.task import Task
from crm_assets.models.ticket import Ticket
from crm_assets.models.ticket_filter import TicketFilter

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
