"""What keeps a table from being loaded, found before the load, with the SQL that ends it; dlt's own is repaired."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dlt.common.schema import Schema
from dlt.common.schema.exceptions import SchemaEngineNoUpgradePathException
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns
from dlt.common.schema.utils import loads_table, pipeline_state_table, version_table
from dlt.destinations.exceptions import DatabaseException, DatabaseUndefinedRelation, DestinationConnectionError
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase
from dlt.pipeline.exceptions import PipelineStateEngineNoUpgradePathException
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from crm_assets.account import Account
from crm_assets.errors import CrmAssetsError, SettingError, WarehouseError
from crm_assets.extract.spool import Spooled
from crm_assets.load.dialect import case_of, in_our_dialect, information_schema, schema_name
from crm_assets.load.load import REJECTED_HINTS, explained
from crm_assets.load.resource_loads import LOADS_COLUMNS, LOADS_TABLE
from crm_assets.load.staging import drop_staging_tables
from crm_assets.load.type_names import FULLY_KNOWN, TYPE_NAMES, data_type_of, plain_type
from crm_assets.models.by_products import REJECTED_TABLE, VALID_FROM, VALID_TO, VERSION, history_table
from crm_assets.models.columns import LOAD_ID, column_hints, deletion_hints

Client = SqlClientBase[Any]

_NAMED = {name for names in TYPE_NAMES.values() for name in names}
_VERSIONS, _STATE, _LOADS = "_dlt_version", "_dlt_pipeline_state", "_dlt_loads"
_OF_DLT = (_VERSIONS, _STATE, _LOADS)
_LOAD_ID_COLUMN: TColumnSchema = {"name": LOAD_ID, "data_type": "text", "nullable": False}


@dataclass(frozen=True)
class _FoundColumn:
    name: str
    kind: str
    nullable: bool
    has_default: bool

    @property
    def is_required(self) -> bool:
        """Whether a row cannot be written without naming it."""
        return not self.nullable and not self.has_default


@dataclass
class _FoundTable:
    name: str
    is_view: bool
    columns: dict[str, _FoundColumn] = field(default_factory=dict)


@dataclass
class _Obstacles:
    """What keeps some tables from being loaded, and the statements that end it."""

    lake: str | None
    found: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)

    def error(self, what: str) -> WarehouseError:
        return WarehouseError(
            f"{what}: {'; '.join(self.found)}. Its tables are untouched. {self._advice('the next run loads it')}"
        )

    def error_of_all(self) -> WarehouseError:
        return WarehouseError(
            f"No table can be loaded: {'; '.join(self.found)}. No table was changed. {self._advice('run again')}"
        )

    def _advice(self, then: str) -> str:
        if self.lake:
            return f"Move the folder of the table, in {self.lake}, to another place, and {then}."
        sql = " ".join(self.remedies)
        return f"Run this SQL in the warehouse (what is there stays, under another name), and {then}: {sql}"


def preflight(
    account: Account,
    client: SqlJobClientBase,
    listings: Sequence[Spooled],
    log: Callable[[str], None],
    *,
    is_exclusive: bool,
    lake: str | None = None,
) -> dict[str, CrmAssetsError]:
    """Look at every table that a load of `listings` will write, and repair what is dlt's own.

    One query reads the columns of all tables. What a broken load left in dlt's staging dataset is dropped. The schema
    that dlt stored (`_dlt_version`) is deleted when it cannot be read, or names a table or a column that somebody
    removed: dlt, which trusts it, would not add them again.

    Args:
        account: whose tables they are.
        client: any SQL destination of dlt's, opened.
        listings: what is to be loaded.
        log: told what was repaired, one line each.
        is_exclusive: whether nobody else can load meanwhile.
        lake: where the Delta tables are of which `client` has copies, and which know no such SQL.

    Returns:
        For each resource that cannot be loaded, why, and the SQL that ends it. Its tables are untouched.

    Raises:
        WarehouseError: no table can be loaded, because of one that each load writes; or the warehouse does not answer.
    """
    histories = {name for name, settings in account.sync.items() if settings.history}
    try:
        return _Preflight(client, account.name, log, is_exclusive=is_exclusive, lake=lake).run(listings, histories)
    except (DatabaseException, DestinationConnectionError) as error:
        raise explained(error, account.dataset, nothing_changed=True) from error


class _Preflight:
    def __init__(
        self,
        job_client: SqlJobClientBase,
        pipeline: str,
        log: Callable[[str], None],
        *,
        is_exclusive: bool,
        lake: str | None,
    ) -> None:
        self._job_client = job_client
        self._client: Client = in_our_dialect(job_client.sql_client)
        self._pipeline = pipeline
        self._log = log
        self._is_exclusive = is_exclusive
        self._fold = case_of(self._client)
        self._lake = lake

    def run(self, listings: Sequence[Spooled], histories: Collection[str]) -> dict[str, CrmAssetsError]:
        tables = self._read()
        self._require_common_tables(tables)
        owners = self._owners(tables)
        refused: dict[str, CrmAssetsError] = {}
        wanted: dict[str, TTableSchemaColumns] = {}
        for listing in listings:
            columns = _columns_to_write(listing, history=listing.resource in histories)
            if owner := next((owners[table] for table in columns if table in owners), None):
                refused[listing.resource] = self._owned_by(owner, listing.resource)
                continue
            obstacles = _Obstacles(self._lake)
            for table, needed in columns.items():
                self._examine(tables, table, needed, obstacles)
            if obstacles.found:
                refused[listing.resource] = obstacles.error(listing.resource)
            else:
                wanted.update(columns)
        self._repair_stored_schema(tables, [*wanted, REJECTED_TABLE, LOADS_TABLE, _LOADS, _STATE])
        # What a broken load left in the staging dataset. Another run, if there can be one, has its own tables there.
        left = {*wanted, *(tables.keys() - owners.keys() if self._is_exclusive else ())}
        drop_staging_tables(self._client, left, is_exclusive=self._is_exclusive)
        return refused

    def _read(self) -> dict[str, _FoundTable]:
        """Return the tables of the dataset by folded name."""
        found: dict[str, _FoundTable] = {}
        rows = self._client.execute_sql(
            "SELECT c.table_name, t.table_type, c.column_name, c.data_type, c.is_nullable,"
            f" c.column_default FROM {information_schema(self._client, 'columns')} c"
            f" JOIN {information_schema(self._client, 'tables')} t"
            " ON t.table_catalog = c.table_catalog AND t.table_schema = c.table_schema"
            " AND t.table_name = c.table_name WHERE c.table_schema = %s",
            schema_name(self._client, self._client.dataset_name),
        )
        for table, table_kind, column, kind, nullable, default in rows or ():
            key = self._fold(table)
            one = found.setdefault(key, _FoundTable(table, "VIEW" in str(table_kind).upper()))
            is_nullable = str(nullable).upper() in ("YES", "TRUE", "1")
            one.columns[self._fold(column)] = _FoundColumn(column, str(kind), is_nullable, default is not None)
        return found

    def _owners(self, tables: Mapping[str, _FoundTable]) -> dict[str, str]:
        """Return the tables that another account, or another dlt pipeline, loads, each with its name."""
        if _VERSIONS not in tables:
            return {}
        column, name = self._quote("schema_name"), self._qualified_name(_VERSIONS)
        rows = self._client.execute_sql(
            f"SELECT DISTINCT {column} FROM {name} WHERE {column} <> %s",
            self._pipeline,
        )
        owners: dict[str, str] = {}
        for (owner,) in rows or ():
            stored = self._job_client.get_stored_schema(owner)
            loaded = json.loads(stored.schema)["tables"] if stored else {}
            owners.update({table: owner for table in loaded if table not in (REJECTED_TABLE, LOADS_TABLE, *_OF_DLT)})
        return owners

    def _owned_by(self, owner: str, resource: str) -> SettingError:
        forget = f"DELETE FROM {self._qualified_name(_VERSIONS)} WHERE {self._quote('schema_name')} = '{owner}';"
        return SettingError(
            f"{resource}: {self._qualified_name(resource)} is a table of {owner!r}, another account or dlt pipeline. "
            f"Its tables are untouched. Set another dataset for one of the two "
            f"(sources.{self._pipeline}.warehouse.dataset). "
            f"If {owner!r} is no longer loaded, run this SQL in the warehouse, and run again: {forget}"
        )

    def _require_common_tables(self, tables: Mapping[str, _FoundTable]) -> None:
        obstacles = _Obstacles(self._lake)
        for name, columns in ((REJECTED_TABLE, REJECTED_HINTS), (LOADS_TABLE, LOADS_COLUMNS)):
            self._examine(tables, name, {**columns, LOAD_ID: _LOAD_ID_COLUMN}, obstacles)
        for name, own in ((_VERSIONS, version_table()), (_LOADS, loads_table()), (_STATE, pipeline_state_table())):
            self._examine(tables, name, own["columns"], obstacles, types_matter=False)
        if obstacles.found:
            raise obstacles.error_of_all()

    def _examine(
        self,
        tables: Mapping[str, _FoundTable],
        name: str,
        needed: TTableSchemaColumns,
        obstacles: _Obstacles,
        *,
        types_matter: bool = True,
    ) -> None:
        """Add to `obstacles` what keeps `needed` from being written to the table `name`."""
        table = tables.get(self._fold(name))
        if table is None:
            return
        if table.is_view:
            obstacles.found.append(f"{name} is a view, not a table")
            obstacles.remedies.append(self._rename("VIEW", table, tables, "view"))
            return
        missing = [
            one for one in needed if not needed[one].get("nullable", True) and self._fold(one) not in table.columns
        ]
        if missing:
            # A column that must not be NULL cannot be added to a table: the table is made anew.
            obstacles.found.append(f"{name} has no column {', '.join(missing)}")
            obstacles.remedies.append(self._rename("TABLE", table, tables, "before"))
            return
        if not types_matter:
            return
        conflicts = [(found, hint) for found, hint in self._pairs(table, needed) if self._is_other_type(found, hint)]
        obstacles.found += [
            f"{name}.{one.name} is {one.kind} and must be {self._type(hint)}" for one, hint in conflicts
        ]
        if any(not hint.get("nullable", True) for _, hint in conflicts):
            obstacles.remedies.append(self._rename("TABLE", table, tables, "before"))
            return
        taken = {*table.columns, *map(self._fold, needed)}
        for one, _ in conflicts:
            free = self._free(f"{one.name}_before", taken)
            taken.add(self._fold(free))
            obstacles.remedies.append(
                f"ALTER TABLE {self._qualified(table)} RENAME COLUMN {self._quote(one.name)} TO {self._quote(free)};"
            )
        for one in self._never_filled(table, needed):
            obstacles.found.append(f"{name}.{one.name} must not be NULL, and no field of the CRM fills it")
            obstacles.remedies.append(
                f"ALTER TABLE {self._qualified(table)} ALTER COLUMN {self._quote(one.name)} DROP NOT NULL;"
            )

    def _pairs(self, table: _FoundTable, needed: TTableSchemaColumns) -> Iterable[tuple[_FoundColumn, TColumnSchema]]:
        """Yield each column of `table` that is needed, with what it is needed for."""
        for name, hint in needed.items():
            if (found := table.columns.get(self._fold(name))) is not None:
                yield found, hint

    def _never_filled(self, table: _FoundTable, needed: TTableSchemaColumns) -> list[_FoundColumn]:
        names = set(map(self._fold, needed))
        return [one for key, one in table.columns.items() if key not in names and one.is_required]

    def _is_other_type(self, found: _FoundColumn, hint: TColumnSchema) -> bool:
        kind = plain_type(found.kind)
        if data_type_of(kind) == hint["data_type"] or kind == plain_type(self._type(hint)):
            return False
        return kind in _NAMED or self._client.capabilities.sqlglot_dialect in FULLY_KNOWN

    def _type(self, hint: TColumnSchema) -> str:
        """Return what the warehouse calls the type of `hint`."""
        mapper: Any = self._client.capabilities.get_type_mapper()
        table = {"name": self._pipeline, "columns": {}, "file_format": "parquet"}
        return str(mapper.to_destination_type(hint, table))

    def _repair_stored_schema(self, tables: Mapping[str, _FoundTable], used: Sequence[str]) -> None:
        """Let dlt store its schema again if it cannot be read, or if the tables in `used` are not as it says.

        It holds nothing but what the tables and the next load say too.
        """
        if _VERSIONS not in tables:
            return
        try:
            stored = self._stored_schema()
        except (SchemaEngineNoUpgradePathException, PipelineStateEngineNoUpgradePathException):
            return  # written by a newer dlt: to be told, by dlt itself, and not to be overwritten
        except DatabaseException:
            raise
        except Exception as error:  # base64, zlib, JSON and dlt's migrations each raise their own
            self._forget_stored_schema(tables)
            tables_of_dlt = f"{self._qualified_name(_VERSIONS)} or {self._qualified_name(_STATE)}"
            self._log(f"The schema that dlt stored in {tables_of_dlt} could not be read ({error}); it is stored again.")
            return
        if stored is not None and (gone := self._gone(stored, tables, used)):
            self._forget_stored_schema(tables)
            self._log(f"Missing in the warehouse; this load creates them again: {', '.join(gone)}.")

    def _stored_schema(self) -> Schema | None:
        """Return the schema that dlt stored, read as dlt reads it, together with its state."""
        with suppress(DatabaseUndefinedRelation):  # one of the tables that it joins is gone: seen later
            load_pipeline_state_from_destination(self._pipeline, self._job_client)
        info = self._job_client.get_stored_schema(self._pipeline)
        return Schema.from_dict(json.loads(info.schema)) if info else None

    def _gone(self, stored: Schema, tables: Mapping[str, _FoundTable], used: Sequence[str]) -> list[str]:
        gone = []
        for name in used:
            stored_table = stored.tables.get(name)
            if stored_table is None:
                continue
            table = tables.get(self._fold(name))
            if table is None:
                gone.append(name)
                continue
            columns = [one for one, hint in stored_table["columns"].items() if "data_type" in hint]
            gone += [f"{name}.{one}" for one in columns if self._fold(one) not in table.columns]
        return gone

    def _forget_stored_schema(self, tables: Mapping[str, _FoundTable]) -> None:
        for table, column in ((_VERSIONS, "schema_name"), (_STATE, "pipeline_name")):
            if table in tables:
                name, quoted = self._qualified_name(table), self._quote(column)
                self._client.execute_sql(f"DELETE FROM {name} WHERE {quoted} = %s", self._pipeline)

    def _rename(self, kind: str, table: _FoundTable, tables: Mapping[str, _FoundTable], ending: str) -> str:
        free = self._free(f"{table.name}_{ending}", tables)
        return f"ALTER {kind} {self._qualified(table)} RENAME TO {self._quote(free)};"

    def _free(self, name: str, taken: Collection[str]) -> str:
        candidates = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
        return next(one for one in candidates if self._fold(one) not in taken)

    def _quote(self, name: str) -> str:
        return self._client.escape_column_name(name)

    def _qualified(self, table: _FoundTable) -> str:
        return self._qualified_name(table.name)

    def _qualified_name(self, name: str) -> str:
        return self._client.make_qualified_table_name(name)


def _columns_to_write(listing: Spooled, *, history: bool) -> dict[str, TTableSchemaColumns]:
    """Return the columns of each table that a load of `listing` writes."""
    hints: TTableSchemaColumns = {
        **column_hints(listing.columns, listing.types, listing.key),
        LOAD_ID: _LOAD_ID_COLUMN,
    }
    tables: dict[str, TTableSchemaColumns] = {listing.resource: {**hints, **deletion_hints()}}
    if history:
        moments: TTableSchemaColumns = {
            name: {"name": name, "data_type": "timestamp", "nullable": True} for name in (VALID_FROM, VALID_TO)
        }
        version: TColumnSchema = {"name": VERSION, "data_type": "text", "nullable": False}
        tables[history_table(listing.resource)] = {**hints, **moments, VERSION: version}
    return tables
