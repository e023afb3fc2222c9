"""What must hold of a table, and the outcome. Reads the warehouse and the record of loads, never the API."""
