"""How to ask the CRM. Knows dlt and HTTP, not Dagster."""
