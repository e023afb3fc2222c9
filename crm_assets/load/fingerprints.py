"""A fingerprint of a table: whether anything in it is not as the load left it, and about how many rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dlt.destinations.sql_client import SqlClientBase

_BUCKETS = 251
"""Rows are told apart by the remainder of a hash of their key."""
_ROW_HASH = {
    "duckdb": "hash({columns})",
    "postgres": "hashtextextended(CAST(ROW({columns}) AS TEXT), 0)",
}
"""By sqlglot dialect: 64 bits for the values of one row. What is not here has no fingerprints."""


@dataclass(frozen=True)
class Fingerprint:
    """The rows of one table, in whatever order, by the remainder of a hash of their key; all as one without a key."""

    engine: str
    """The warehouse's name and version: another version may compute another hash of the same row."""
    key: Sequence[str]
    columns: Sequence[str]
    buckets: Mapping[str, tuple[int, str]]
    """For each remainder, how many rows there are, and the sum of their hashes."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "engine": self.engine,
            "key": list(self.key),
            "columns": list(self.columns),
            "buckets": dict(self.buckets),
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` had written, here or in an earlier version."""
        buckets = {bucket: (int(rows), str(total)) for bucket, (rows, total) in value["buckets"].items()}
        # Without a key, the buckets are remainders of ids, which nobody computes any more.
        return cls(value["engine"] if "key" in value else "", value.get("key", ()), value["columns"], buckets)

    def changed_buckets(self, other: "Fingerprint") -> list[str]:
        """Return the remainders under which not all rows are the same."""
        keys = self.buckets.keys() | other.buckets.keys()
        return sorted(key for key in keys if self.buckets.get(key) != other.buckets.get(key))

    def changed_rows(self, other: "Fingerprint") -> int:
        """Return how many rows at least are not the same: exact for few changes, too low for very many."""
        counts = (
            (self.buckets.get(key, (0, ""))[0], other.buckets.get(key, (0, ""))[0])
            for key in self.changed_buckets(other)
        )
        return sum(max(1, abs(one - another)) for one, another in counts)


def row_hash(client: SqlClientBase[Any], columns: Sequence[str]) -> str | None:
    """Return the SQL for the hash of one row in `columns`; None if this kind of warehouse has none."""
    template = _ROW_HASH.get(client.capabilities.sqlglot_dialect or "")
    return template and template.format(columns=", ".join(map(client.escape_column_name, columns)))


def fingerprint(
    client: SqlClientBase[Any], table: str, key: Sequence[str], columns: Sequence[str]
) -> Fingerprint | None:
    """Return the fingerprint of `table` in `columns`, in one query; None if this kind of warehouse has no hash."""
    hashed = row_hash(client, columns)
    if hashed is None:
        return None
    rows = client.execute_sql(
        f"SELECT CAST({_bucket(client, key)} AS VARCHAR), count(*), CAST(sum({hashed}) AS VARCHAR)"
        f" FROM {client.make_qualified_table_name(table)} GROUP BY 1"
    )
    buckets = {str(bucket): (int(count), str(total)) for bucket, count, total in rows or ()}
    return Fingerprint(engine(client), list(key), list(columns), buckets)


def _bucket(client: SqlClientBase[Any], key: Sequence[str]) -> str:
    return f"mod({row_hash(client, key)}, {_BUCKETS})" if key else "0"


def engine(client: SqlClientBase[Any]) -> str:
    """Return name and version of the warehouse."""
    rows = client.execute_sql("SELECT version()")
    return f"{client.capabilities.sqlglot_dialect} {rows[0][0]}" if rows else ""


def rows_in(client: SqlClientBase[Any], key: Sequence[str], buckets: Sequence[str]) -> str:
    """Return the condition of the rows in these buckets."""
    return f"{_bucket(client, key)} IN ({', '.join(buckets)})"
