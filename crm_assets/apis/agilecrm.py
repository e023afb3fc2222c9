"""The public API of Agile CRM, with the model and the cadence of each resource.

What it is like, and what of that is assumed, is in `docs/agilecrm.md`.
"""

from typing import Any

import dlt
import requests

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

_BEFORE_THE_CRM = 1_262_304_000_000
"""2010-01-01 in epoch milliseconds: how the filter wants its times."""
_LOOK_BACK = 90_000
"""25 hours in seconds: the filter counts from a day later, or from the next midnight. The rest is for clocks."""


def as_empty_list(response: requests.Response, *_: Any, **__: Any) -> None:
    """Give a response without content, which is how the CRM says that there is nothing, a list without records."""
    response._content = b"[]"  # dlt's way to change what a response says


def pages(**params: str) -> dict[str, Any]:
    """Return the part of an endpoint that has a cursor on the last record of each page, and these query parameters."""
    cursor = {"type": "cursor", "limit": 100, "limit_param": "page_size", "cursor_param": "cursor"}
    return {"params": params, "paginator": cursor}


def form(**fields: str) -> dict[str, Any]:
    """Return the part of an endpoint that takes page size, cursor and these fields as a form."""
    return {
        "method": "POST",
        # Without an order of its own, a listing has none that holds from one page to the next.
        "data": {"global_sort_key": "-created_time", **fields},
        "paginator": {
            "type": "cursor",
            "limit": 100,
            "limit_body_path": "page_size",
            "cursor_body_path": "cursor",
            # That the filter has cursors is not documented: a full page without one comes again, larger.
            **({"maximum_limit": 5000} if fields else {}),
        },
    }


def since_last_time(contact_type: str) -> dict[str, Any]:
    """Return what asks for the records of one kind that changed, in two requests: one for those never updated."""
    rule = '{{"LHS":"%s","CONDITION":"AFTER","RHS":{incremental.start_value}}}'
    rules = '{{"rules":[' + rule + '],"or_rules":[],"contact_type":"%s"}}'
    return {
        "cursor_path": ["updated_time", "created_time"],
        "initial_value": _BEFORE_THE_CRM,
        "lag": _LOOK_BACK,
        "endpoints": [
            {"path": "/dev/api/filters/filter/dynamic-filter", **form(filterJson=rules % (field, contact_type))}
            for field in ("updated_time", "created_time")
        ],
    }


API = {
    "client": {
        "base_url": f"https://{dlt.config['domain']}.agilecrm.com",
        "headers": {"Accept": "application/json"},
        "auth": {
            "type": "basic",
            "username": dlt.secrets["email"],
            "password": dlt.secrets["api_key"],
        },
        "requests_per_second": 10,
        "concurrency": 8,
    },
    "resource_defaults": {
        "primary_key": "id",
        "write_disposition": "merge",
        "remove_fields": ["cursor", "count"],
        "endpoint": {
            "data_selector": "$",
            "total_field": "count",
            "response_actions": [{"status_code": 204, "action": as_empty_list}],
        },
    },
    "resources": [
        {
            "name": "contacts",
            "model": Contact,
            "cadence": "frequent",
            "endpoint": {"path": "/dev/api/contacts", "incremental": since_last_time("PERSON"), **pages()},
        },
        {
            "name": "companies",
            "model": Company,
            "cadence": "frequent",
            "endpoint": {
                "path": "/dev/api/contacts/companies/list",
                "incremental": since_last_time("COMPANY"),
                **form(),
            },
        },
        {
            "name": "deals",
            "model": Deal,
            "cadence": "frequent",
            "endpoint": {"path": "/dev/api/opportunity", "incremental": since_last_time("OPPORTUNITY"), **pages()},
        },
        {
            "name": "notes",
            "model": Note,
            "cadence": "frequent",
            "endpoints": [
                {
                    # In one page by its documentation; some servers give ten, and a cursor.
                    "path": "/dev/api/contacts/{resources.contacts.id}/notes",
                    "collect_from_parent": {"contact_ids": "id"},
                    **pages(),
                },
                {
                    "path": "/dev/api/opportunity/{resources.deals.id}/notes",
                    "collect_from_parent": {"deal_ids": "id"},
                },
            ],
        },
        {
            "name": "tasks",
            "model": Task,
            "cadence": "frequent",
            "endpoints": [
                # All tasks by its documentation, only those to be done by older servers.
                "/dev/api/tasks",
                *(
                    {"path": "/dev/api/tasks/based", **pages(criteria="STATUS", type=status)}
                    for status in ("YET_TO_START", "IN_PROGRESS", "COMPLETED")
                ),
            ],
        },
        {
            "name": "events",
            "model": Event,
            "cadence": "frequent",
            "endpoint": {
                "path": "/dev/api/events",
                "paginator": {
                    "type": "time_window",
                    "start": '{{ dlt.config.get("events_start", "2010-01-01") }}',
                    "span_days": '{{ dlt.config.get("events_span_days", 90) }}',
                    "start_param": "start",
                    "end_param": "end",
                },
            },
        },
        {
            "name": "milestone",
            "model": Milestone,
            "cadence": "daily",
            "endpoint": "/dev/api/milestone/pipelines",
        },
        {
            "name": "campaigns",
            "model": Campaign,
            "cadence": "daily",
            "endpoint": {"path": "/dev/api/workflows", **pages()},
        },
        {
            "name": "documents",
            "model": Document,
            "cadence": "frequent",
            "endpoint": {
                "path": "/dev/api/documents/contact/{resources.contacts.id}/docs",
                "collect_from_parent": {"contact_ids": "id"},
            },
        },
        {
            "name": "ticket_filters",
            "model": TicketFilter,
            "cadence": "daily",
            "endpoint": "/dev/api/tickets/filters",
        },
        {
            "name": "tickets",
            "model": Ticket,
            "cadence": "frequent",
            "endpoint": {
                "path": "/dev/api/tickets/filter",
                "params": {
                    "filter_id": "{resources.ticket_filters.id}",
                    "global_sort_key": "-last_updated_time",
                },
                "paginator": {
                    "type": "cursor",
                    "limit": 100,
                    "limit_param": "page_size",
                    "maximum_limit": 5000,
                    "cursor_param": "cursor",
                },
                "collect_from_parent": {"filter_ids": "id"},
            },
        },
    ],
}
