"""A CRM's REST API in your warehouse: eleven Dagster assets, loaded by dlt."""
