"""Read the listings of the CRM, all at once, onto local disk. Knows dlt and HTTP, not Dagster."""
