"""Complete listings into the warehouse, in one dlt run."""
