"""Which column a field gets that no model declares: one for good, whatever other fields come."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from zlib import crc32

from crm_assets.models.columns import column_name, earlier_column_name, is_reserved, variant_of


class FieldColumns:
    """The columns of fields.

    A field that has a column keeps it. A new one gets its name in snake case, with a suffix made from it if another
    field has that column already. Of two that come together, the one that is called like the column gets it.

    Args:
        taken: names of columns that no such field gets.
        known: the columns that fields have already.
        existing: columns of the table, which may be those of fields of which nobody has written that down.
        room: how many more columns the table takes.

    Attributes:
        columns: the column of each field that has one.
    """

    def __init__(
        self,
        taken: Iterable[str],
        known: Mapping[str, str] = MappingProxyType({}),
        existing: Collection[str] = (),
        room: int = 200,
    ) -> None:
        not_theirs = set(taken)
        # A column may have been declared since, for another field.
        self.columns = {field: name for field, name in known.items() if name not in not_theirs}
        self._taken = {*not_theirs, *known.values()}
        free = (name for name in existing if name not in self._taken and not variant_of(name) and not is_reserved(name))
        self._existing = frozenset(free)
        self._room = room

    def add(self, fields: Iterable[str]) -> None:
        """Give each of `fields` a column. Without room, those get none that the table has no column for."""
        new = [field for field in fields if field not in self.columns]
        if not new or not (self._room or self._existing):
            return
        at_hand = {field for field in new if self._existing and self._at_hand(field)}
        others = [field for field in new if field not in at_hand][: self._room]
        self._room -= len(others)
        for field in sorted([*at_hand, *others], key=lambda field: (column_name(field) != field, field)):
            name = self._at_hand(field) or self._free(field)
            self._taken.add(name)
            self.columns[field] = name

    def _at_hand(self, field: str) -> str | None:
        """Return the column of the table that must be that of `field`, or that it may have."""
        names = (_with_suffix(field), column_name(field), earlier_column_name(field))
        return next((name for name in names if name in self._existing and name not in self._taken), None)

    def _free(self, field: str) -> str:
        name = column_name(field)
        return _with_suffix(field) if name in self._taken else name


def _with_suffix(field: str) -> str:
    return f"{column_name(field)}_{crc32(field.encode()):08x}"
