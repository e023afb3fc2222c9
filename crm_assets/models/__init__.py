"""What a record is: one Pydantic model per resource, the one source of truth for its table."""
