"""The warehouses that keep the contract of the tables, each looked at from outside."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa
from deltalake import Field, write_deltalake

from crm_assets_tests.lakes import TYPE, LakeUnderTest
from crm_assets_tests.postgres import the_postgres

WAREHOUSES = ("duckdb", "postgres", "filesystem")
"""By the name of dlt's destination."""


class AnyWarehouse(ABC):
    """A warehouse of one test."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The settings that point the project at it."""

    @abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of `sql`."""

    def change(self, sql: str) -> None:
        """Run `sql`, as somebody does who should not."""
        self.query(sql)

    def make_room(self, dataset: str, table: str, said: str) -> None:
        """Do what `said` advises where `table` of `dataset` cannot be loaded: run its SQL."""
        assert f"{dataset}.{table}" in said.replace('"', "")
        self.change(said.partition("the next run loads it: ")[2])

    def tables(self, dataset: str = "crm") -> dict[str, int]:
        """Return the number of rows of each table of `dataset` but dlt's own and the record of the loads."""
        names = self.query(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{dataset}'"
            " AND table_name NOT LIKE '\\_dlt%' ESCAPE '\\' AND table_name <> 'resource_loads'"
        )
        return {name: self.query(f'SELECT count(*) FROM {dataset}."{name}"')[0][0] for (name,) in names}

    def columns(self, table: str, dataset: str = "crm") -> dict[str, str]:
        """Return the type of each column of `table`, in their order; none if there is no such table."""
        return dict(
            self.query(
                "SELECT column_name, data_type FROM information_schema.columns"
                f" WHERE table_schema = '{dataset}' AND table_name = '{table}' ORDER BY ordinal_position"
            )
        )

    def rows(self, table: str, dataset: str = "crm", where: str = "1 = 1") -> list[dict[str, Any]]:
        """Return the rows of `table` that meet `where`, JSON parsed; none if there is no such table."""
        columns = self.columns(table, dataset)
        names = ", ".join(f'"{name}"' for name in columns)
        found = self.query(f'SELECT {names} FROM "{dataset}"."{table}" WHERE {where}') if columns else []
        return [
            {
                name: json.loads(value) if kind.lower() == "json" and isinstance(value, str) else value
                for (name, kind), value in zip(columns.items(), row, strict=True)
            }
            for row in found
        ]


class DuckDbFile(AnyWarehouse):
    """A DuckDB file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that point the project at it."""
        return {"DESTINATION__DUCKDB__CREDENTIALS": str(self.path)}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of `sql`."""
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def columns(self, table: str, dataset: str = "crm") -> dict[str, str]:
        """Return the type of each column of `table`; none if there is no such table, or no file yet."""
        return super().columns(table, dataset) if self.path.exists() else {}


class PostgresDatabase(AnyWarehouse):
    """A database of a Postgres on loopback."""

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that point the project at it."""
        return {"WAREHOUSE__DESTINATION": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": self.address}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of `sql`."""
        with closing(psycopg2.connect(self.address, options="-c timezone=UTC")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []


class DeltaLake(AnyWarehouse):
    """Delta tables in a folder, looked at through `deltalake`, as their readers do."""

    def __init__(self, path: Path) -> None:
        self._lake = LakeUnderTest(path)

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that point the project at it."""
        return self._lake.environment

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of `sql`."""
        with self._copied() as connection:
            return connection.execute(sql).fetchall()

    def change(self, sql: str) -> None:
        """Run `sql` over a copy, and write back the tables that it names."""
        with self._copied() as connection:
            connection.execute(sql)
            for dataset, name in connection.execute(_TABLES).fetchall():
                if f"{dataset}.{name}" in sql.replace('"', ""):
                    table = self._lake.table(dataset, name)
                    before = {one.name: one for one in pa.schema(table.schema().to_arrow())}
                    rows = pa.table(connection.sql(f'SELECT * FROM "{dataset}"."{name}"'))
                    schema = pa.schema([_as_before(one, before.get(one.name)) for one in rows.schema])
                    write_deltalake(table, rows.cast(schema), mode="overwrite", schema_mode="overwrite")

    def make_room(self, dataset: str, table: str, said: str) -> None:
        """Move the folder of `table` away, as `said` advises."""
        assert f"Move the folder of the table, in {self._lake.path / dataset}, to another place" in said
        (self._lake.path / dataset / table).rename(self._lake.path.with_name(f"{table} before"))

    @contextmanager
    def _copied(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect() as connection:
            for dataset in self._lake.path.iterdir() if self._lake.path.is_dir() else ():
                connection.execute(f'CREATE SCHEMA "{dataset.name}"')
                for log in dataset.glob("*/_delta_log"):
                    table = self._lake.table(dataset.name, log.parent.name)
                    columns = ", ".join(map(_as_text_or_json, table.schema().fields))
                    connection.register("incoming", table.to_pyarrow_table())
                    connection.execute(
                        f'CREATE TABLE "{dataset.name}"."{log.parent.name}" AS SELECT {columns} FROM incoming'
                    )
            yield connection


_TABLES = "SELECT table_schema, table_name FROM information_schema.tables"


def _as_text_or_json(column: Field) -> str:
    is_json = column.metadata.get(TYPE.decode()) == "JSON"
    return f'CAST("{column.name}" AS JSON) AS "{column.name}"' if is_json else f'"{column.name}"'


def _as_before(field: pa.Field, before: pa.Field | None) -> pa.Field:
    """Return `field`, with what Delta had noted of the column, unless it has another type now."""
    kind = pa.timestamp("us", "UTC") if pa.types.is_timestamp(field.type) else field.type
    if before is None or str(before.type).removeprefix("large_") != str(kind).removeprefix("large_"):
        return pa.field(field.name, kind)
    return pa.field(field.name, kind, before.nullable, before.metadata)


def a_warehouse(kind: str, directory: Path) -> AnyWarehouse:
    """Return a new warehouse of the kind that dlt calls `kind`, whose files are in `directory`."""
    make: dict[str, Callable[[], AnyWarehouse]] = {
        "duckdb": lambda: DuckDbFile(directory / "data" / "warehouse.duckdb"),
        "filesystem": lambda: DeltaLake(directory / "the lake"),
        "postgres": lambda: PostgresDatabase(the_postgres().database()),
    }
    return make[kind]()
