"""What we say to a warehouse that is neither DuckDB nor Postgres: it is parsed here, and run by nobody."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
import sqlglot
from dlt.destinations.sql_client import SqlClientBase
from sqlglot import exp
from sqlglot.errors import ErrorLevel

from crm_assets.errors import WarehouseError
from crm_assets.load import preflight, warehouse
from crm_assets.load.dialect import translate
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL, run_assets, warehouse_in

DIALECTS = ("snowflake", "bigquery", "databricks", "clickhouse", "redshift")
ONLY_HERE = ("string_to_array", "hash(", "TEMPORARY")
"""What is not said elsewhere: lists in JSON, and all that compares rows by a hash."""


class Recording:
    """A connection that keeps what it is told."""

    def __init__(self, client: SqlClientBase[Any], said: list[str]) -> None:
        self._client = client
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_sql(self, sql: str, *args: Any) -> Sequence[Sequence[Any]] | None:
        self._said.append(sql)
        return self._client.execute_sql(sql, *args)

    @contextmanager
    def execute_query(self, sql: str, *args: Any) -> Iterator[Any]:
        self._said.append(sql)
        with self._client.execute_query(sql, *args) as cursor:
            yield cursor


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every statement of ours in some runs in which much happens."""
    found: list[str] = []
    with (
        Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as sandbox,
        pytest.MonkeyPatch.context() as inside,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for module in (warehouse, preflight):
            inside.setattr(module, "in_our_dialect", lambda client: Recording(client, found))
        warehouse_in(tmp_path_factory.mktemp("said"), sandbox, inside)
        inside.setenv("SYNC__HISTORY", "true")
        inside.setenv("SYNC__NOTES__DELETES", "remove")
        run_assets(instance)
        for resource in ("deals", "notes", "contacts"):
            records = list(sandbox.crm.records(resource))
            sandbox.crm.delete(resource, records[0]["id"])
            sandbox.crm.update(resource, records[1]["id"], id=None)
            sandbox.crm.update(resource, records[2]["id"], created_time="never")
        for _ in range(2):
            run_assets(instance)
    return [sql for sql in dict.fromkeys(found) if not any(word in sql for word in ONLY_HERE)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_is_translated_into_the_dialect_and_parsed_in_it(said: list[str], dialect: str) -> None:
    kinds = {sql.split()[0] for sql in said}
    assert {"SELECT", "UPDATE", "DELETE"} <= kinds
    assert len(said) > 100
    for sql in said:
        found = translate(sql, dialect)
        parsed = sqlglot.parse_one(found.replace("%s", "'x'"), read=dialect, error_level=ErrorLevel.RAISE)
        assert not parsed.find(exp.Command), found
        assert found.count("%s") == sql.count("%s")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_dialect_has_no_words_for_is_said(dialect: str) -> None:
    with pytest.raises(WarehouseError, match=f"speaks {dialect}, which has no words for: SELECT FROM WHERE"):
        translate("SELECT FROM WHERE (", dialect)
