"""The habits of the CRM's values, undone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crm_assets.extract.batches import Batcher
from crm_assets.models.columns import Column
from crm_assets.models.record import DataType
from crm_assets.models.values import CONVERT, DataTypeName, TimeUnit, to_timestamp

NOON = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data_type", "sent", "held"),
    [
        ("bigint", 981, 981),
        ("bigint", "5629585249009664", 5629585249009664),
        ("bigint", 5.0, 5),
        ("bigint", "", None),
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("double", "1500.50", 1500.5),
        ("double", 7, 7.0),
        ("double", " ", None),
        ("bool", "true", True),
        ("bool", 0, False),
        ("bool", "", None),
        ("text", 5, "5"),
        ("text", True, "true"),
        ("text", "", ""),
        ("text", {"a": [1]}, '{"a":[1]}'),
        ("timestamp", 1700000000, NOON),
        ("timestamp", 1700000000000, NOON),
        ("timestamp", "1700000000", NOON),
        ("timestamp", "1700000000000", NOON),
        ("timestamp", "2023-11-14T22:13:20Z", NOON),
        ("timestamp", "2023-11-14T23:13:20+01:00", NOON),
        ("timestamp", "2023-11-14T22:13:20", NOON),
        ("timestamp", 0, None),
        ("timestamp", "0", None),
        ("timestamp", "", None),
        ("timestamp", -19800, datetime(1969, 12, 31, 18, 30, tzinfo=UTC)),
        ("timestamp", 10**11 - 1, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        ("timestamp", 10**11, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        ("timestamp", "20251231", datetime(2025, 12, 31, tzinfo=UTC)),
        ("timestamp", "20251399", datetime(1970, 8, 23, 9, 23, 19, tzinfo=UTC)),
        ("json", {"a": [1, None]}, '{"a":[1,null]}'),
        ("json", "text", '"text"'),
        ("json", None, None),
    ],
)
def test_a_value_becomes_what_its_column_holds(data_type: DataTypeName, sent: Any, held: Any) -> None:
    assert CONVERT[data_type](sent) == held


@pytest.mark.parametrize(
    ("unit", "sent", "held"),
    [
        ("s", 253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("s", 1_700_000_000, NOON),
        ("s", "1700000000", NOON),
        ("s", 1_700_000_000_000, NOON),  # no year that there is in seconds
        ("s", "20251231", datetime(2025, 12, 31, tzinfo=UTC)),
        ("ms", 1_700_000_000_000, NOON),
        ("ms", 34_560_000_000, datetime(1971, 2, 5, tzinfo=UTC)),
        ("ms", -86_400_000, datetime(1969, 12, 31, tzinfo=UTC)),
        ("ms", 0, None),
    ],
)
def test_a_time_is_in_the_unit_of_its_field(unit: TimeUnit, sent: Any, held: Any) -> None:
    assert DataType("timestamp", unit).convert(sent) == held
    column = Column("t", "t", DataType("timestamp", unit), nullable=True, description="")
    batch, _ = Batcher("deals", [column]).batch([{"t": sent}, {"t": 1_700_000_000}])
    assert batch.to_pylist()[0]["t"] == held


@pytest.mark.parametrize(
    ("data_type", "sent", "reason"),
    [
        ("bigint", "abc", "'abc' is not a whole number"),
        ("bigint", 1.5, "1.5 is not a whole number"),
        ("bigint", True, "True is not a whole number"),
        ("bigint", 2**63, "does not fit into 64 bits"),
        ("bigint", "1_0", "'1_0' is not a number"),
        ("bigint", [1], r"\[1\] is not a whole number"),
        ("double", "NaN", "not a finite number"),
        ("double", "1e999", "not a finite number"),
        ("double", "1_0.5", "'1_0.5' is not a number"),
        ("double", "12 EUR", "'12 EUR' is not a number"),
        ("double", False, "False is not a number"),
        ("bool", "maybe", "neither true nor false"),
        ("bool", 2, "neither true nor false"),
        ("timestamp", "yesterday", "'yesterday' is not a time"),
        ("timestamp", True, "True is not a time"),
        ("timestamp", 10**15, "outside the years 1 to 9999"),
        ("timestamp", 10**400, "outside the years 1 to 9999"),
        ("timestamp", "9999-12-31T23:59:59-05:00", "outside the years 1 to 9999"),
        ("timestamp", "0001-01-01T00:00:00+05:00", "outside the years 1 to 9999"),
        ("timestamp", "1_0", "'1_0' is not a time"),
        ("timestamp", "inf", "outside the years 1 to 9999"),
        ("timestamp", "nan", "outside the years 1 to 9999"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_with_the_reason(
    data_type: DataTypeName, sent: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        CONVERT[data_type](sent)


def test_a_long_value_is_cut_in_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\.\.\. is not a whole number") as error:
        CONVERT["bigint"]("x" * 10_000)
    assert len(str(error.value)) < 200


def test_milliseconds_are_exact_however_far_away_they_are() -> None:
    for number in range(15_912_686_718_500, 15_912_686_718_600):
        moment = to_timestamp(number)
        assert moment is not None
        assert moment.microsecond == number % 1000 * 1000
