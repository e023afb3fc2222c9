"""The warehouses: opening a dlt destination by its name, and what differs between them."""
