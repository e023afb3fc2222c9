"""One look at a table: everything that the checks count, in two queries of SQL that DuckDB and Postgres both speak."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from crm_assets.apis.api import Resource
from crm_assets.load.dialect import SPOKEN, case_of, information_schema, schema_name
from crm_assets.load.key_sql import key_sql
from crm_assets.load.type_names import data_type_in
from crm_assets.models.by_products import VALID_FROM, VALID_TO, history_table
from crm_assets.models.columns import DELETED_AT, LOAD_ID, MISSING_SINCE, Column, variant_of
from crm_assets.models.record import DataType, Reference
from crm_assets.quality.conditions import Condition, conditions
from crm_assets.text import counted

if TYPE_CHECKING:
    from dlt.destinations.sql_client import SqlClientBase

    from crm_assets.load.fingerprints import Fingerprint
    from crm_assets.load.resource_loads import ResourceLoad

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
    living: int
    """Rows that are not flagged as deleted."""
    nulls: Mapping[str, int]
    """NULLs in each column that must have none."""
    repeated: int
    """Rows whose key stands in another row too."""
    of_last_load: int
    newest_load: str | None
    """The latest load that wrote a row."""
    conditions: Mapping[Condition, int]
    """How many rows break each condition."""
    variants: Mapping[str, int]
    """How many values are in each variant column, because the column itself does not hold them."""
    variant_rows: int
    """Rows with such a value."""
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


@dataclass(frozen=True)
class Change:
    """What is not as the last load left it: in words, at least how many rows, and the query that shows them."""

    what: str
    rows: int
    sql: str = ""


class TableProbe:
    """Looks at the tables of one dataset.

    Args:
        client: a connection to the warehouse.
        last_loads: the last complete load of each resource.
        keys: the key of each resource. One that is not among them has the key `id`.
        with_history: the resources that have one.
    """

    def __init__(
        self,
        client: "SqlClientBase[Any]",
        last_loads: "Mapping[str, ResourceLoad]",
        keys: Mapping[str, Sequence[str]],
        with_history: Collection[str] = (),
    ) -> None:
        self._client = client
        self._with_history = with_history
        self._quote = client.escape_column_name
        self._case = case_of(client)
        self._dataset = client.dataset_name
        self._last_loads = last_loads
        self._keys = keys

    def _query(self, sql: str) -> Sequence[Sequence[Any]]:
        return self._client.execute_sql(sql) or []

    def measure(self, resource: Resource) -> TableStats:
        """Measure the table of `resource`."""
        name = resource.name
        columns, columns_sql = self._columns(name), self._columns_sql(name)
        wrong = {column.name: problem for column in resource.columns if (problem := self._problem(column, columns))}
        sound = [column for column in resource.columns if column.name not in wrong]
        if not columns or not set(resource.key) <= set(columns):
            return TableStats(name, columns, wrong, 0, 0, {}, 0, 0, None, {}, {}, 0, {}, "", columns_sql)
        expressions = self._expressions(resource, sound, columns)
        numbers = ",\n  ".join(expressions.values())
        sql = f"SELECT\n  {numbers}\nFROM {self._table(name)}"
        row = dict(zip(expressions, self._query(sql)[0], strict=True))
        return TableStats(
            table=name,
            columns=columns,
            wrong=wrong,
            rows=row["rows"],
            living=row["living"],
            nulls={column: row[f"null {column}"] for column in _required(resource, sound, columns)},
            repeated=row["repeated"],
            of_last_load=row["of_last_load"],
            newest_load=row["newest_load"],
            conditions={one: row[one.name] for one in conditions(sound)},
            variants={column: row[column] for column in filter(variant_of, columns)},
            variant_rows=row["variant_rows"],
            references={
                one.name: (row[f"all {one.name}"], row[f"lost {one.name}"])
                for one in self._referring(resource, sound, columns)
            },
            sql=sql,
            columns_sql=columns_sql,
        )

    def _newest_load(self, resource: str, columns: Mapping[str, str]) -> str:
        """Return the expression of the latest load that wrote a row of the table, or of its history."""
        if LOAD_ID not in columns:
            return "NULL"
        newest, versions = f"max({self._quote(LOAD_ID)})", history_table(resource)
        if resource not in self._with_history or LOAD_ID not in self._columns(versions):
            return newest
        return f"greatest(coalesce({newest}, ''), (SELECT coalesce({newest}, '') FROM {self._table(versions)}))"

    def _problem(self, column: Column, columns: Mapping[str, str]) -> str | None:
        if column.name not in columns:
            return "is missing"
        found = columns[column.name]
        if data_type_in(self._client, found) != column.data_type.name:
            return f"is {found}, not {column.data_type.name}"
        return None

    def repeated_keys(self, resource: Resource) -> Sequence[Sequence[Any]]:
        """Return up to ten keys that stand in more than one row, each followed by the number of rows."""
        key = key_sql(self._client, resource.key)
        return self._query(
            f"SELECT {key}, count(*) FROM {self._table(resource.name)} GROUP BY {key} HAVING count(*) > 1"
            f" ORDER BY {key} LIMIT {MAX_FAILED_ROWS}"
        )

    def rejected(self, resource: str, load_id: str) -> tuple[str, Sequence[Sequence[Any]]]:
        """Return id and reason of up to ten records of the load `load_id` that could not be rows, and the query."""
        sql = (
            f"SELECT record_id, reason FROM {self._table('rejected_records')}"
            f" WHERE resource = '{resource}' AND {self._quote(LOAD_ID)} = '{load_id}'"
            f" ORDER BY 1 LIMIT {MAX_FAILED_ROWS}"
        )
        return sql, self._query(sql)

    def breaking(self, resource: Resource, condition: Condition) -> Sequence[Sequence[Any]]:
        """Return key and value of up to ten rows that break `condition`."""
        shown, key = key_sql(self._client, [*resource.key, condition.column]), key_sql(self._client, resource.key)
        return self._query(
            f"SELECT {shown} FROM {self._table(resource.name)}"
            f" WHERE {condition.sql(self._quote)} ORDER BY {key} LIMIT {MAX_FAILED_ROWS}"
        )

    def variant_values(self, resource: Resource, column: str) -> Sequence[Sequence[Any]]:
        """Return key and value of up to ten living rows that have a value in the variant column `column`."""
        shown, living = key_sql(self._client, [*resource.key, column]), self._living(self._columns(resource.name))
        return self._query(
            f"SELECT {shown} FROM {self._table(resource.name)}"
            f" WHERE {self._quote(column)} IS NOT NULL AND {living}"
            f" ORDER BY {key_sql(self._client, resource.key)} LIMIT {MAX_FAILED_ROWS}"
        )

    def lost(self, resource: Resource, column: str) -> Sequence[Sequence[Any]]:
        """Return key and reference of up to ten rows whose `column` refers to nothing."""
        referring = self._referring(resource, resource.columns, self._columns(resource.name))
        declared = next(one for one in referring if one.name == column)
        shown = "".join(f"{key}, " for key in self._key_aliases(resource))
        return self._query(
            f"SELECT {shown}reference FROM ({self._references(resource, declared)}) r"
            f" WHERE {self._leads_nowhere(declared)} ORDER BY {shown}reference LIMIT {MAX_FAILED_ROWS}"
        )

    def is_comparable(self, left: "Fingerprint") -> bool:
        """Return whether this warehouse still computes the same hash of a row as when `left` was recorded."""
        from crm_assets.load.fingerprints import engine

        return engine(self._client) == left.engine

    def changes(self, table: str, left: "Fingerprint") -> Change | None:
        """Return what of `table` is not as `left` says, if anything."""
        from crm_assets.load.fingerprints import fingerprint, rows_in

        columns = self._columns(table)
        if not columns:
            return Change(f"{table} is gone", 0)
        if missing := [name for name in left.columns if name not in columns]:
            return Change(f"{table} has no column {', '.join(missing)}", 0)
        now = fingerprint(self._client, table, left.key, left.columns)
        if now is None or not (buckets := left.changed_buckets(now)):
            return None
        rows = left.changed_rows(now)
        sql = f"SELECT * FROM {self._table(table)} WHERE {rows_in(self._client, left.key, buckets)}"
        return Change(f"at least {counted(rows, 'row')} of {table} changed, came or went", rows, sql)

    def history_faults(self, resource: Resource) -> tuple[dict[str, int], str]:
        """Return how many records break what holds of every history, by what they break, and the query."""
        name = history_table(resource.name)
        columns = self._columns(name)
        if not columns:
            return {"have no history": self._query(f"SELECT count(*) FROM {self._table(resource.name)}")[0][0]}, ""
        if not all(self._is_time(columns.get(one, "")) for one in (VALID_FROM, VALID_TO)):
            return {"have versions without times": self._query(f"SELECT count(*) FROM {self._table(name)}")[0][0]}, ""
        rows, versions, key = self._table(resource.name), self._table(name), key_sql(self._client, resource.key)
        begin, end, deleted_at, missing = map(self._quote, (VALID_FROM, VALID_TO, DELETED_AT, MISSING_SINCE))
        living = f"SELECT {key} FROM {rows} WHERE {deleted_at} IS NULL"
        current = f"SELECT {key} FROM {versions} WHERE {end} IS NULL"
        window = f"OVER (PARTITION BY {key} ORDER BY {begin}, {end} NULLS LAST)"
        ordered = (
            f"SELECT {key}, {begin} AS _dlt_began, lag({end}) {window} AS _dlt_ended,"
            f" row_number() {window} AS _dlt_place FROM {versions}"
        )
        overlaps = "_dlt_place > 1 AND (_dlt_ended IS NULL OR _dlt_ended > _dlt_began)"
        queries = {
            "have several current versions": f"SELECT {key} FROM ({current}) c GROUP BY {key} HAVING count(*) > 1",
            "have no current version": f"{living} AND {missing} IS NULL EXCEPT {current}",
            "have a current version and no row": f"{current} EXCEPT {living}",
            "have versions that overlap": f"SELECT DISTINCT {key} FROM ({ordered}) v WHERE {overlaps}",
        }
        counts = ",\n  ".join(f"(SELECT count(*) FROM ({query}) q)" for query in queries.values())
        sql = f"SELECT\n  {counts}"
        return dict(zip(queries, self._query(sql)[0], strict=True)), sql

    def _expressions(self, resource: Resource, sound: Sequence[Column], columns: Mapping[str, str]) -> dict[str, str]:
        """Return the expression of each number that one row of the answer holds."""
        last_load = self._last_loads.get(resource.name)
        latest = f"{self._quote(LOAD_ID)} = '{last_load.load_id}'" if last_load and LOAD_ID in columns else "1 = 0"
        living = self._living(columns)
        variants = list(filter(variant_of, columns))
        filled = " OR ".join(f"{self._quote(column)} IS NOT NULL" for column in variants)
        expressions = {
            "rows": "count(*)",
            "living": f"count(*) FILTER (WHERE {living})",
            "variant_rows": f"count(*) FILTER (WHERE ({filled}) AND {living})" if variants else "0",
            **{column: f"count({self._quote(column)}) FILTER (WHERE {living})" for column in variants},
            "repeated": self._repeated(resource.key),
            "of_last_load": f"count(*) FILTER (WHERE {latest})",
            "newest_load": self._newest_load(resource.name, columns),
        }
        for column in _required(resource, sound, columns):
            expressions[f"null {column}"] = f"count(*) FILTER (WHERE {self._quote(column)} IS NULL)"
        for condition in conditions(sound):
            expressions[condition.name] = f"count(*) FILTER (WHERE {condition.sql(self._quote)})"
        for referring in self._referring(resource, sound, columns):
            references = self._references(resource, referring)
            expressions[f"all {referring.name}"] = f"(SELECT count(*) FROM ({references}) r)"
            expressions[f"lost {referring.name}"] = (
                f"(SELECT count(*) FROM ({references}) r WHERE {self._leads_nowhere(referring)})"
            )
        return expressions

    def _repeated(self, key: Sequence[str]) -> str:
        if not key:
            return "0"
        columns = key_sql(self._client, key)
        if len(key) == 1:
            return f"count({columns}) - count(DISTINCT {columns})"
        whole = f"FILTER (WHERE {' AND '.join(f'{self._quote(name)} IS NOT NULL' for name in key)})"
        return f"count(*) {whole} - count(DISTINCT ({columns})) {whole}"

    def _referring(self, resource: Resource, sound: Sequence[Column], columns: Collection[str]) -> list[Column]:
        """Return the columns that refer to another table: as a model says, or because they hold the parent's key."""
        # A list in JSON is taken apart in words that only these have.
        takes_lists = self._client.capabilities.sqlglot_dialect in SPOKEN
        declared = [
            column
            for column in sound
            if column.reference and column.reference != resource.name
            if takes_lists or column.data_type.name != "json"
        ]
        parent = resource.parent or ""
        inherited = [
            Column(name, name, DataType("text"), True, "", (Reference(parent),))
            for name, there in resource.inherited.items()
            if name in columns and [there] == list(self._key(parent))
        ]
        return [column for column in [*declared, *inherited] if self._can_be_referred_to(column.reference or "")]

    def _can_be_referred_to(self, target: str) -> bool:
        key = self._key(target)
        return len(key) == 1 and key[0] in self._columns(target)

    def _key(self, resource: str) -> Sequence[str]:
        return self._keys.get(resource, ("id",))

    def _key_aliases(self, resource: Resource) -> list[str]:
        """Return what the columns of the key are called beside a reference."""
        return [f"key_{place}" for place, _ in enumerate(resource.key)]

    def _references(self, resource: Resource, column: Column) -> str:
        name = self._quote(column.name)
        aliases = self._key_aliases(resource)
        key = "".join(f"{self._quote(one)} AS {alias}, " for one, alias in zip(resource.key, aliases, strict=True))
        text = f"CAST({name} AS VARCHAR)"
        if column.data_type.name == "json":
            # A list of ids as JSON text, taken apart without the JSON functions, which differ between warehouses.
            text = f"unnest(string_to_array(translate({text}, '[]\" ', ''), ','))"
        could_know = self._could_be_known(resource.name, column.reference)
        inner = (
            f"SELECT {key}{text} AS reference FROM {self._table(resource.name)}"
            f" WHERE {name} IS NOT NULL AND {could_know}"
        )
        return f"SELECT * FROM ({inner}) i WHERE reference NOT IN ('', '0', 'null')"

    def _could_be_known(self, resource: str, target: str | None) -> str:
        """Return the condition of the rows whose references the last listing of `target` could have known already."""
        own, known = self._last_loads.get(resource), self._last_loads.get(target or "")
        if own is None or known is None or known.load_id >= own.load_id:
            return "1 = 1"
        columns = self._columns(resource)
        times = [name for name in ("updated_time", "created_time") if self._is_time(columns.get(name, ""))]
        if not times:
            return "1 = 0"
        listed = known.loaded_at - timedelta(seconds=known.fetch_seconds)
        return f"coalesce({', '.join(map(self._quote, times))}) < TIMESTAMPTZ '{listed.isoformat()}'"

    def _is_time(self, kind: str) -> bool:
        return data_type_in(self._client, kind) == "timestamp"

    def _leads_nowhere(self, column: Column) -> str:
        assert column.reference  # noqa: S101 - only referring columns come here
        target = self._table(column.reference)
        [key] = self._key(column.reference)
        # Not NOT IN, which Postgres answers row by row once the keys are more than its work_mem.
        return f"NOT EXISTS (SELECT 1 FROM {target} t WHERE CAST(t.{self._quote(key)} AS VARCHAR) = r.reference)"

    def _living(self, columns: Collection[str]) -> str:
        """Return the condition of the rows of a table with `columns` that are not flagged as deleted."""
        return f"{self._quote(DELETED_AT)} IS NULL" if DELETED_AT in columns else "1 = 1"

    def _columns(self, resource: str) -> dict[str, str]:
        return {self._case(str(name)): str(kind) for name, kind in self._query(self._columns_sql(resource))}

    def _columns_sql(self, resource: str) -> str:
        dataset, table = (schema_name(self._client, name) for name in (self._dataset, resource))
        where = f"table_schema = '{dataset}' AND table_name = '{table}'"
        return f"SELECT column_name, data_type FROM {information_schema(self._client, 'columns')} WHERE {where}"

    def _table(self, resource: str) -> str:
        return f"{self._quote(self._dataset)}.{self._quote(resource)}"


def _required(resource: Resource, sound: Sequence[Column], columns: Collection[str]) -> list[str]:
    """Return those of `columns` that must not be NULL: declared so, or part of the primary key."""
    declared = [column.name for column in sound if not column.nullable]
    return list(dict.fromkeys([*declared, *(name for name in resource.key if name in columns)]))
