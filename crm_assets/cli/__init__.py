"""The command `crm-assets`."""
