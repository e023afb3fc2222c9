"""A fingerprint of a table: whether anything in it is not as the load left it, and about how many rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dlt.destinations.sql_client import SqlClientBase

_BUCKETS = 251
"""Rows are told apart by the remainder of their ids: a prime, because the ids of some CRMs have common factors."""
_ROW_HASH = {
    "duckdb": "hash({columns})",
    "postgres": "hashtextextended(CAST(ROW({columns}) AS TEXT), 0)",
}
"""By sqlglot dialect: 64 bits for the values of one row. What is not here has no fingerprints."""


@dataclass(frozen=True)
class Fingerprint:
    """The rows of one table, in whatever order, by the remainder of their ids."""

    engine: str
    """The warehouse's name and version: another version may compute another hash of the same row."""
    columns: Sequence[str]
    buckets: Mapping[str, tuple[int, str]]
    """For each remainder, how many rows there are, and the sum of their hashes."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"engine": self.engine, "columns": list(self.columns), "buckets": dict(self.buckets)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` had written."""
        buckets = {key: (int(rows), str(total)) for key, (rows, total) in value["buckets"].items()}
        return cls(value["engine"], value["columns"], buckets)

    def changed_buckets(self, other: "Fingerprint") -> list[str]:
        """Return the remainders of ids under which not all rows are the same."""
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


def fingerprint_sql(client: SqlClientBase[Any], table: str, columns: Sequence[str]) -> str | None:
    """Return the query for the buckets of `table`, in `columns`; None if this kind of warehouse has no hash for it."""
    hashed = row_hash(client, columns)
    if hashed is None:
        return None
    identifier, name = client.escape_column_name("id"), client.make_qualified_table_name(table)
    return (
        f"SELECT CAST(mod({identifier}, {_BUCKETS}) AS VARCHAR), count(*), CAST(sum({hashed}) AS VARCHAR)"
        f" FROM {name} GROUP BY 1"
    )


def fingerprint(client: SqlClientBase[Any], table: str, columns: Sequence[str]) -> Fingerprint | None:
    """Return the fingerprint of `table` in one query; see `fingerprint_sql`."""
    sql = fingerprint_sql(client, table, columns)
    if sql is None:
        return None
    rows = client.execute_sql(sql) or ()
    return Fingerprint(engine(client), list(columns), {str(key): (int(n), str(total)) for key, n, total in rows})


def engine(client: SqlClientBase[Any]) -> str:
    """Return name and version of the warehouse."""
    rows = client.execute_sql("SELECT version()")
    return f"{client.capabilities.sqlglot_dialect} {rows[0][0]}" if rows else ""


def rows_in(buckets: Sequence[str]) -> str:
    """Return the condition of the rows whose ids have one of these remainders."""
    return f"mod(id, {_BUCKETS}) IN ({', '.join(buckets)})"
