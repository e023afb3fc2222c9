"""What must hold of a table, and the verdict. Reads the warehouse and the record of loads, never the API."""
