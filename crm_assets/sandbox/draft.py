"""A record in the making: its dice, and the facts that several of its fields must agree on."""

from collections.abc import Mapping
from typing import Any, Final

from crm_assets.sandbox.dice import Dice
from crm_assets.sandbox.ids import id_of

FIRST: Final = 1_420_070_400
"""2015-01-01: no record is older. Epoch seconds, as every time of a draft."""
NOW: Final = 1_780_272_000
"""2026-06-01: when the sandbox plays. A clock would make two starts differ."""
DAY: Final = 86_400
NEVER: Final = 0

_USERS: Final = (
    ("Ada Byron", "ada"),
    ("Grace Murray", "grace"),
    ("Konrad Zuse-Klein", "konrad"),
    ("Hélène Dumas", "helene"),
    ("田中 美咲", "misaki"),
    ("Piet de Groot", "piet"),
)


class Draft(Dice):
    """What a maker of records draws from.

    Attributes:
        seed: of the whole sandbox.
        counts: how many records each resource begins with; references stay below.
        index: number of the record in its resource.
        id: its identifier.
        created: when it was created.
        updated: when it last changed; `NEVER` now and then.
    """

    __slots__ = ("counts", "created", "id", "index", "seed", "updated")

    def __init__(self, seed: int, counts: Mapping[str, int], resource: str, index: int) -> None:
        super().__init__(f"{seed}/{resource}/{index}")
        self.seed = seed
        self.counts = counts
        self.index = index
        self.id = id_of(seed, resource, index)
        self.created = FIRST + self.wide(NOW - DAY - FIRST)
        self.updated = NEVER if self.one_in(6) else self.since(self.created)

    def since(self, moment: int) -> int:
        """Return a time between `moment` and now."""
        return moment + ((self._draw() << 16 | self._draw()) * (NOW - moment) >> 32)

    def since_or_never(self, moment: int) -> int:
        """Return a time between `moment` and now, or `NEVER`."""
        return NEVER if self.one_in(3) else self.since(moment)

    def amount(self, most: int) -> float:
        """Return an amount of money from 0 to `most`, mostly a round one."""
        return float(self.wide(most // 50) * 50) if self.below(4) else self.wide(most * 100) / 100

    def some(self, resource: str, most: int) -> list[int]:
        """Return the numbers of up to `most` existing records of `resource`, in order, none twice; perhaps none."""
        count = self.counts[resource]
        return sorted({self.wide(count) for _ in range(self.below(most + 1))}) if count else []

    def one(self, resource: str) -> int | None:
        """Return the number of an existing record of `resource`; None if there are none."""
        return self.wide(self.counts[resource]) if self.counts[resource] else None

    def ids(self, resource: str, indexes: list[int]) -> list[Any]:
        """Return the identifiers of records as a list of text holds them: a number gets in now and then."""
        numbers = [id_of(self.seed, resource, index) for index in indexes]
        return [number if self.one_in(20) else str(number) for number in numbers]

    def id_number(self, resource: str, index: int) -> int | str:
        """Return the identifier of a record as a number, now and then as text."""
        return self.loose(id_of(self.seed, resource, index))

    def loose(self, number: int) -> int | str:
        """Return `number`, now and then as text."""
        return str(number) if self.one_in(20) else number

    def user(self) -> dict[str, Any]:
        """Return one of the CRM's users, as an owner."""
        which = self.below(len(_USERS))
        name, login = _USERS[which]
        return {
            "id": self.loose(id_of(self.seed, "users", which + 10)),
            "domain": "sandbox",
            "email": f"{login}@sandbox.example",
            "name": name,
            "phone": "",
            "pic": f"https://sandbox.example/pic/{login}.png",
            "schedule_id": login,
            "calendar_url": f"https://sandbox.example/calendar/{login}",
            "calendarURL": f"https://sandbox.example/calendar/{login}",
        }
