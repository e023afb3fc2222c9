"""The APIs of the CRM, as data."""
