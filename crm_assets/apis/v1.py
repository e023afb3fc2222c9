"""The CRM's API `v1`, in the words of its configuration guide.

A resource is one row here and one model in `crm_assets/models/`; everything else derives from the two.
"""

from crm_assets.apis.api_config import ApiConfig, CursorPaginator, SinglePage

CURSOR: CursorPaginator = {
    "type": "cursor",
    "limit": 100,
    "cursor_param": "cursor",
    "stop_condition": "not last_record.get('cursor')",
}
ONE_PAGE: SinglePage = {"type": "single_page"}

V1: ApiConfig = {
    "client": {
        "base_url": "{base_url}",
        "auth": {"type": "basic", "username": "{email}", "password": "{api_key}"},
    },
    "resource_defaults": {
        "primary_key": "id",
        "write_disposition": "merge",
        "endpoint": {
            "data_selector": "data",
            "paginator": ONE_PAGE,
            "error_handler": {
                "retry_on_status_codes": [429, 500, 502, 503, 504],
                "max_retries": 3,
                "backoff_factor": 2,
            },
        },
    },
    "resources": [
        {"name": "contacts", "cadence": "frequent", "endpoint": {"path": "/v1/contacts", "paginator": CURSOR}},
        {"name": "companies", "cadence": "frequent", "endpoint": {"path": "/v1/companies", "paginator": CURSOR}},
        {"name": "deals", "cadence": "frequent", "endpoint": {"path": "/v1/deals", "paginator": CURSOR}},
        {"name": "notes", "cadence": "frequent", "endpoint": {"path": "/v1/notes"}},
        {"name": "tasks", "cadence": "frequent", "endpoint": {"path": "/v1/tasks"}},
        {"name": "events", "cadence": "frequent", "endpoint": {"path": "/v1/events"}},
        {"name": "milestone", "cadence": "daily", "endpoint": {"path": "/v1/milestone"}},
        {"name": "campaigns", "cadence": "daily", "endpoint": {"path": "/v1/campaigns", "paginator": CURSOR}},
        {"name": "documents", "cadence": "daily", "endpoint": {"path": "/v1/documents"}},
        {"name": "ticket_filters", "cadence": "daily", "endpoint": {"path": "/v1/ticket_filters"}},
        {"name": "tickets", "cadence": "frequent", "endpoint": {"path": "/v1/tickets"}},
    ],
}
