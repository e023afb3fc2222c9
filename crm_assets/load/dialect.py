"""Our SQL is written as DuckDB and Postgres both have it; for every other warehouse sqlglot translates it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import sqlglot
from dlt.destinations.sql_client import SqlClientBase
from sqlglot.errors import ErrorLevel, SqlglotError

from crm_assets.errors import WarehouseError

SPOKEN = ("duckdb", "postgres")
"""Dialects that need no translation."""
_VALUE, _STAND_IN = "%s", "'value that is sent apart'"


def in_our_dialect(client: SqlClientBase[Any]) -> SqlClientBase[Any]:
    """Return a connection that takes our SQL: `client` itself, or one that translates for it."""
    if client.capabilities.sqlglot_dialect in SPOKEN:
        return client
    return cast(SqlClientBase[Any], _TranslatingClient(client))


def translate(sql: str, dialect: str) -> str:
    """Return a statement of ours in another dialect.

    Args:
        sql: as Postgres has it, with `%s` where values go.
        dialect: as sqlglot calls it.

    Raises:
        WarehouseError: the dialect has no words for it.
    """
    try:
        [found] = sqlglot.transpile(
            sql.replace(_VALUE, _STAND_IN), read="postgres", write=dialect, unsupported_level=ErrorLevel.RAISE
        )
    except SqlglotError as error:
        raise WarehouseError(f"The warehouse speaks {dialect}, which has no words for: {sql}. {error}") from error
    return found.replace(_STAND_IN, _VALUE)


def case_of(client: SqlClientBase[Any]) -> Callable[[str], str]:
    """Return what makes a name of the warehouse comparable with ours: lower case, unless it tells cases apart."""
    return str if client.capabilities.generates_case_sensitive_identifiers() else str.lower


def information_schema(client: SqlClientBase[Any], view: str) -> str:
    """Return how SQL names the view `tables` or `columns` in which the tables of the dataset of `client` are."""
    if client.capabilities.sqlglot_dialect == "bigquery":  # it has one for each dataset
        return f"{client.fully_qualified_dataset_name()}.INFORMATION_SCHEMA.{view.upper()}"
    return f"information_schema.{view}"


def schema_name(client: SqlClientBase[Any], dataset: str) -> str:
    """Return what the information schema calls `dataset`."""
    return client.capabilities.casefold_identifier(dataset)


class _TranslatingClient:
    """A connection of dlt's that takes SQL, and quotes names, as Postgres does."""

    def __init__(self, client: SqlClientBase[Any]) -> None:
        self._client = client
        self._dialect = str(client.capabilities.sqlglot_dialect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def escape_column_name(self, column_name: str) -> str:
        return _quoted(self._client.escape_column_name(column_name, quote=False))

    def make_qualified_table_name(self, table_name: str) -> str:
        return ".".join(map(_quoted, self._client.make_qualified_table_name_path(table_name, quote=False)))

    def fully_qualified_dataset_name(self) -> str:
        return ".".join(map(_quoted, self._client.make_qualified_table_name_path(None, quote=False)))

    def execute_sql(self, sql: str, *args: Any) -> Sequence[Sequence[Any]] | None:
        return self._client.execute_sql(translate(sql, self._dialect), *args)

    @contextmanager
    def execute_query(self, sql: str, *args: Any) -> Iterator[Any]:
        with self._client.execute_query(translate(sql, self._dialect), *args) as cursor:
            yield cursor


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
