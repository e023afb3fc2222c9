"""The key of a table in SQL that DuckDB and Postgres both speak."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlt.destinations.sql_client import SqlClientBase


def key_sql(client: "SqlClientBase[Any]", key: Sequence[str]) -> str:
    """Return the columns of `key` as SQL lists them; in parentheses they can be compared as one."""
    return ", ".join(map(client.escape_column_name, key))


def key_text_sql(client: "SqlClientBase[Any]", key: Sequence[str]) -> str:
    """Return the SQL for the text of a row's key, as `rejected_records.record_id` has it."""
    texts = [f"CAST({client.escape_column_name(name)} AS VARCHAR)" for name in key]
    if len(key) == 1:
        return texts[0]
    escaped = [rf"replace(replace({text}, '\', '\\'), ',', '\,')" for text in texts]
    return " || ', ' || ".join(f"'{name}=' || {text}" for name, text in zip(key, escaped, strict=True))
