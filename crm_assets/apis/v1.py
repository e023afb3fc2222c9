"""The CRM's API `v1`: the dictionary of its configuration guide, with the model and the cadence of each resource.

A resource is one row here and, where its types matter, one model in `crm_assets/models/`; everything else derives.
"""

import dlt

from crm_assets.models.campaign import Campaign
from crm_assets.models.company import Company
from crm_assets.models.contact import Contact
from crm_assets.models.deal import Deal
from crm_assets.models.document import Document
from crm_assets.models.event import Event
from crm_assets.models.milestone import Milestone
from crm_assets.models.note import Note
from crm_assets.models.task import Task
from crm_assets.models.ticket import Ticket
from crm_assets.models.ticket_filter import TicketFilter

API = {
    "client": {
        "base_url": dlt.config["base_url"],
        "auth": {
            "type": "basic",
            "username": dlt.secrets["email"],
            "password": dlt.secrets["api_key"],
        },
    },
    "resource_defaults": {
        "primary_key": "id",
        "write_disposition": "merge",
    },
    "resources": [
        {
            "name": "contacts",
            "model": Contact,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/contacts",
                "data_selector": "data",
                "paginator": {
                    "type": "cursor",
                    "limit": 100,
                    "cursor_param": "cursor",
                    "stop_condition": "not last_record.get('cursor')",
                },
            },
        },
        {
            "name": "companies",
            "model": Company,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/companies",
                "data_selector": "data",
                "paginator": {
                    "type": "cursor",
                    "limit": 100,
                    "cursor_param": "cursor",
                },
            },
        },
        {
            "name": "deals",
            "model": Deal,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/deals",
                "data_selector": "data",
                "paginator": {
                    "type": "cursor",
                    "limit": 100,
                    "cursor_param": "cursor",
                },
            },
        },
        {
            "name": "notes",
            "model": Note,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/notes",
                "data_selector": "data",
            },
        },
        {
            "name": "tasks",
            "model": Task,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/tasks",
                "data_selector": "data",
            },
        },
        {
            "name": "events",
            "model": Event,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/events",
                "data_selector": "data",
            },
        },
        {
            "name": "milestone",
            "model": Milestone,
            "cadence": "daily",
            "endpoint": {
                "path": "/v1/milestone",
                "data_selector": "data",
            },
        },
        {
            "name": "campaigns",
            "model": Campaign,
            "cadence": "daily",
            "endpoint": {
                "path": "/v1/campaigns",
                "data_selector": "data",
                "paginator": {
                    "type": "cursor",
                    "limit": 100,
                    "cursor_param": "cursor",
                },
            },
        },
        {
            "name": "documents",
            "model": Document,
            "cadence": "daily",
            "endpoint": {
                "path": "/v1/documents",
                "data_selector": "data",
            },
        },
        {
            "name": "ticket_filters",
            "model": TicketFilter,
            "cadence": "daily",
            "endpoint": {
                "path": "/v1/ticket_filters",
                "data_selector": "data",
            },
        },
        {
            "name": "tickets",
            "model": Ticket,
            "cadence": "frequent",
            "endpoint": {
                "path": "/v1/tickets",
                "data_selector": "data",
            },
        },
    ],
}
