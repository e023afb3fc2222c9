"""One look at a table: everything that the checks count, in two queries of SQL that DuckDB and Postgres both speak."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dlt.destinations.sql_client import SqlClientBase

from crm_assets.apis.resources import Resource
from crm_assets.load.type_names import TYPE_NAMES, plain_type
from crm_assets.models.columns import LOAD_ID, Column
from crm_assets.quality.conditions import Condition, conditions

Query = Callable[[str], Sequence[Sequence[Any]]]
"""Runs one statement and returns its rows."""
Name = Callable[[str], str]
"""Quotes the name of a column."""

MAX_FAILED_ROWS = 10


@dataclass(frozen=True)
class TableStats:
    """What was seen of one table.

    `columns` maps each column to its type in the warehouse; it is empty if there is no such table.
    """

    table: str
    columns: Mapping[str, str]
    wrong: Mapping[str, str]
    """Declared columns that are missing or have another type, each with what is wrong."""
    rows: int
    nulls: Mapping[str, int]
    """NULLs in each column that must have none."""
    repeated: int
    """Rows whose id stands in another row too."""
    of_last_load: int
    reported_count: int | None
    """The number of records that the CRM itself named in its last listing, if it does."""
    conditions: Mapping[Condition, int]
    """How many rows break each condition."""
    references: Mapping[str, tuple[int, int]]
    """For each column that refers: how many references, how many of them to nothing."""
    sql: str
    """The query that counted all this."""
    columns_sql: str
    """The query that read the columns."""

    @property
    def exists(self) -> bool:
        """Whether there is such a table."""
        return bool(self.columns)


class TableProbe:
    """Looks at the tables of one dataset.

    Args:
        query: runs SQL in the warehouse.
        quote: quotes the name of a column or table.
        dataset: schema of the tables.
    """

    @classmethod
    def of(cls, client: SqlClientBase[Any]) -> Self:
        """Return the probe of the dataset that `client` is connected to."""
        return cls(
            lambda sql: client.execute_sql(sql) or [],
            client.escape_column_name,
            client.dataset_name,
        )

    def __init__(self, query: Query, quote: Name, dataset: str) -> None:
        self._query = query
        self._quote = quote
        self._dataset = dataset

    def measure(self, resource: Resource, last_load: str | None) -> TableStats:
        """Measure the table of `resource`; `last_load` is the load that should have brought its rows."""
        name = resource.name
        columns, columns_sql = self._columns(name), self._columns_sql(name)
        wrong = {column.name: problem for column in resource.columns if (problem := _problem(column, columns))}
        sound = [column for column in resource.columns if column.name not in wrong]
        if "id" not in columns:
            return TableStats(name, columns, wrong, 0, {}, 0, 0, None, {}, {}, "", columns_sql)
        counted = self._counted(name, sound, columns, last_load)
        numbers = ",\n  ".join(counted.values())
        sql = f"SELECT\n  {numbers}\nFROM {self._table(name)}"
        row = dict(zip(counted, self._query(sql)[0], strict=True))
        return TableStats(
            table=name,
            columns=columns,
            wrong=wrong,
            rows=row["rows"],
            nulls={column.name: row[f"null {column.name}"] for column in sound if not column.nullable},
            repeated=row["repeated"],
            of_last_load=row["of_last_load"],
            reported_count=row["reported_count"],
            conditions={one: row[one.name] for one in conditions(sound)},
            references={
                column: (row[f"all {column}"], row[f"lost {column}"]) for column, _ in self._referring(name, sound)
            },
            sql=sql,
            columns_sql=columns_sql,
        )

    def repeated_ids(self, resource: str) -> Sequence[Sequence[Any]]:
        """Return up to ten ids that stand in more than one row, and in how many."""
        identifier = self._quote("id")
        return self._query(
            f"SELECT {identifier}, count(*) FROM {self._table(resource)} GROUP BY 1 HAVING count(*) > 1"  # noqa: S608
            f" ORDER BY 1 LIMIT {MAX_FAILED_ROWS}"
        )

    def rejected(self, resource: str, load_id: str) -> tuple[str, Sequence[Sequence[Any]]]:
        """Return id and reason of up to ten records of the load `load_id` that could not be rows, and the query."""
        sql = (
            f"SELECT record_id, reason FROM {self._table('rejected_records')}"  # noqa: S608 - names are quoted
            f" WHERE resource = '{resource}' AND {self._quote(LOAD_ID)} = '{load_id}'"
            f" ORDER BY 1 LIMIT {MAX_FAILED_ROWS}"
        )
        return sql, self._query(sql)

    def breaking(self, resource: str, condition: Condition) -> Sequence[Sequence[Any]]:
        """Return id and value of up to ten rows that break `condition`."""
        return self._query(
            f"SELECT {self._quote('id')}, {self._quote(condition.column)} FROM {self._table(resource)}"  # noqa: S608
            f" WHERE {condition.sql(self._quote)} ORDER BY 1 LIMIT {MAX_FAILED_ROWS}"
        )

    def lost(self, resource: Resource, column: str) -> Sequence[Sequence[Any]]:
        """Return id and reference of up to ten rows whose `column` refers to nothing."""
        declared = next(one for one in resource.columns if one.name == column)
        return self._query(
            f"SELECT r.id, r.reference FROM ({self._references(resource.name, declared)}) r"  # noqa: S608 - names are quoted
            f" WHERE {self._leads_nowhere(declared)} ORDER BY 1, 2 LIMIT {MAX_FAILED_ROWS}"
        )

    def _counted(
        self, resource: str, sound: Sequence[Column], columns: Mapping[str, str], last_load: str | None
    ) -> dict[str, str]:
        """Name each number that one row of the answer holds."""
        names = {column.name for column in sound}
        latest = f"{self._quote(LOAD_ID)} = '{last_load}'" if last_load and LOAD_ID in columns else "1 = 0"
        identifier = self._quote("id")
        counted = {
            "rows": "count(*)",
            "repeated": f"count({identifier}) - count(DISTINCT {identifier})",
            "of_last_load": f"count(*) FILTER (WHERE {latest})",
            "reported_count": f"max({self._quote('count')}) FILTER (WHERE {latest})" if "count" in names else "NULL",
        }
        for column in sound:
            if not column.nullable:
                counted[f"null {column.name}"] = f"count(*) FILTER (WHERE {self._quote(column.name)} IS NULL)"
        for condition in conditions(sound):
            counted[condition.name] = f"count(*) FILTER (WHERE {condition.sql(self._quote)})"
        for column_name, declared in self._referring(resource, sound):
            references = self._references(resource, declared)
            counted[f"all {column_name}"] = f"(SELECT count(*) FROM ({references}) r)"  # noqa: S608
            counted[f"lost {column_name}"] = (
                f"(SELECT count(*) FROM ({references}) r WHERE {self._leads_nowhere(declared)})"  # noqa: S608
            )
        return counted

    def _referring(self, resource: str, sound: Sequence[Column]) -> list[tuple[str, Column]]:
        return [
            (column.name, column)
            for column in sound
            if column.reference and column.reference != resource and "id" in self._columns(column.reference)
        ]

    def _references(self, resource: str, column: Column) -> str:
        identifier, name = self._quote("id"), self._quote(column.name)
        text = f"CAST({name} AS VARCHAR)"
        if column.data_type.name == "json":
            # A list of ids as JSON text, taken apart without the JSON functions, which differ between warehouses.
            text = f"unnest(string_to_array(translate({text}, '[]\" ', ''), ','))"
        inner = f"SELECT {identifier} AS id, {text} AS reference FROM {self._table(resource)} WHERE {name} IS NOT NULL"  # noqa: S608
        return f"SELECT id, reference FROM ({inner}) i WHERE reference NOT IN ('', '0', 'null')"  # noqa: S608

    def _leads_nowhere(self, column: Column) -> str:
        assert column.reference  # noqa: S101 - only referring columns come here
        target = self._table(column.reference)
        return f"r.reference NOT IN (SELECT CAST({self._quote('id')} AS VARCHAR) FROM {target})"  # noqa: S608

    def _columns(self, resource: str) -> dict[str, str]:
        return {str(name): str(kind) for name, kind in self._query(self._columns_sql(resource))}

    def _columns_sql(self, resource: str) -> str:
        where = f"table_schema = '{self._dataset}' AND table_name = '{resource}'"
        return f"SELECT column_name, data_type FROM information_schema.columns WHERE {where}"  # noqa: S608 - our names

    def _table(self, resource: str) -> str:
        return f"{self._quote(self._dataset)}.{self._quote(resource)}"


def _problem(column: Column, columns: Mapping[str, str]) -> str | None:
    if column.name not in columns:
        return "is missing"
    found = columns[column.name]
    if plain_type(found) not in TYPE_NAMES[column.data_type.name]:
        return f"is {found}, not {column.data_type.name}"
    return None
