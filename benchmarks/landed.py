"""Whether every record landed: a peer that lost one has no number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

SCHEMA: Final = "crm"
"""Where each peer puts the tables, one for each resource, of its name."""


def problem_of(database: Path, expected: Mapping[str, Any]) -> str | None:
    """Return what is missing or wrong in the tables of `database`; None if every record is there once."""
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            for resource, one in expected.items():
                if problem := _problem(connection, resource, one["ids"], one["spots"]):
                    return f"{resource}: {problem}"
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None


def _problem(
    connection: duckdb.DuckDBPyConnection, resource: str, ids: list[str], spots: list[tuple[str, str, str]]
) -> str | None:
    table = f'{SCHEMA}."{resource}"'
    found = [name for (name,) in connection.execute(f"SELECT id::VARCHAR FROM {table}").fetchall()]
    if lost := len(set(ids) - set(found)):
        return f"lost {lost} of {len(ids)} records"
    if len(found) != len(ids):
        return f"has {len(found)} rows for {len(ids)} records"
    names = {_plain(name): name for (name, *_) in connection.execute(f"DESCRIBE {table}").fetchall()}
    for key, field, text in spots:
        column = names.get(_plain(field))
        if column is None:
            return f"has no column for {field}"
        values = connection.execute(f'SELECT "{column}"::VARCHAR FROM {table} WHERE id::VARCHAR = ?', [key]).fetchall()
        if values != [(text,)]:
            return f"{field} of {key} is {values[0][0]!r}, not {text!r}"
    return None


def _plain(name: str) -> str:
    """Return a name without what the peers do to it."""
    return name.replace("_", "").lower()


def differences(floor: Path, ours: Path, resources: Mapping[str, Any]) -> int:
    """Return how many rows of the tables are in one of two files and not in the other, in the floor's columns."""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{floor}' AS floor (READ_ONLY); ATTACH '{ours}' AS ours (READ_ONLY)")
        return sum(_differences(connection, resource) for resource in resources)


def _differences(connection: duckdb.DuckDBPyConnection, resource: str) -> int:
    described = connection.execute(f'DESCRIBE floor.{SCHEMA}."{resource}"').fetchall()
    columns = ", ".join(sorted(f'"{name}"' for (name, *_) in described))
    one, other = (f'SELECT {columns} FROM {database}.{SCHEMA}."{resource}"' for database in ("floor", "ours"))
    rows = connection.execute(
        f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one}))"
    ).fetchall()
    return int(rows[0][0])
