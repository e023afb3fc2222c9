"""When the CRM fails as such, all threads of the account wait."""

import pytest

from crm_assets.extract import rate_limit
from crm_assets.extract.rate_limit import RateLimit


def limit_after(outcomes: str) -> RateLimit:
    """Return a limit after `outcomes`, a letter each: `s` for a success, `f` for a failure."""
    limit = RateLimit()
    for outcome in outcomes:
        limit.count(failed=outcome == "f")
    return limit


@pytest.mark.parametrize(
    ("outcomes", "is_burst"),
    [
        ("ffff", False),
        ("fffff", True),
        ("fsfsfsfsf", True),
        ("fsfsfsfssf", False),
        ("fffffsssss", False),
        ("s" * 1_000 + "fffff", True),
    ],
)
def test_five_of_the_last_nine_requests_are_a_burst(outcomes: str, is_burst: bool) -> None:
    assert limit_after(outcomes).is_burst is is_burst


def test_what_failed_long_ago_is_no_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = limit_after("fffff")
    assert limit.is_burst
    monkeypatch.setattr(rate_limit, "BURST_SECONDS", 0.0)
    assert not limit.is_burst
