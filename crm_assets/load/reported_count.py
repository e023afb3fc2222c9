"""How many records the CRM says it has, against how many it listed."""

_FEW, _FEW_OF_MANY = 5, 0.01
"""Records, and their share, that may come and go while a listing is read."""


def about_equal(reported_count: int, records: int) -> bool:
    """Return whether the CRM listed as many records as it says it has, but for what came and went meanwhile."""
    return abs(reported_count - records) <= max(_FEW, _FEW_OF_MANY * records)
