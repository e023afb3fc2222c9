"""The way of the data: fetch all listings at once, spool them to disk, load the complete ones together."""
