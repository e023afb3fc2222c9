"""The CRM as an ordinary dlt source, for a pipeline of your own."""

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource, DltSource

from crm_assets.account import Account, resolve_account
from crm_assets.apis.api import Resource
from crm_assets.extract.batches import Batcher, rejected_batch
from crm_assets.extract.children import read_families
from crm_assets.extract.connect import connect
from crm_assets.extract.connection import Connection, Traffic
from crm_assets.extract.field_columns import FieldColumns
from crm_assets.extract.json_columns import column_type, typed_arrays
from crm_assets.extract.pages import read_pages
from crm_assets.extract.parents import Parent, fields_for, parent_of
from crm_assets.models.by_products import REJECTED_TABLE
from crm_assets.models.columns import column_hints, fields_of
from crm_assets.models.values import CONVERT

_REJECTED = dlt.mark.make_hints(table_name=REJECTED_TABLE, write_disposition="append", primary_key=(), columns=())


def crm_source(
    account: str = "crm",
    *,
    email: str | None = None,
    api_key: str | None = None,
    **settings: Any,
) -> DltSource:
    """Return the CRM of an account as a dlt source.

    Tables have the types of the models: ids as integers, times in UTC, nested values as JSON. What no model declares
    has the type of the first page that has a value for it, and keeps it in the schema of the pipeline. What does not
    fit goes to variant columns, and records that cannot be rows to the table `rejected_records`, as in the assets.

    Args:
        account: name of the account; its settings are in the section `sources.<account>`.
        email: user name of the login; None for the setting.
        api_key: password of the login; None for the setting.
        settings: values that go before the settings: `base_url`, `resources` and whatever `resolve_account` takes.

    Raises:
        SettingError: a setting cannot be used.
        ApiConfigError: a name in `resources` is not known.
    """
    resolved = resolve_account(account, **settings)

    @dlt.source(name=account, max_table_nesting=0)
    def source() -> list[DltResource]:
        return [_resource(resolved, one, email, api_key) for one in resolved.resources]

    return source()


def _resource(account: Account, resource: Resource, email: str | None, api_key: str | None) -> DltResource:
    return dlt.resource(
        _tables(account, resource, email, api_key),
        name=resource.name,
        primary_key=resource.key,
        write_disposition=resource.write_disposition,
        columns=column_hints(resource.columns, {}, resource.key),
    )


def _tables(account: Account, resource: Resource, email: str | None, api_key: str | None) -> Iterator[Any]:
    known = _known_columns(resource)
    declared = {column.name for column in resource.columns}
    types = {name: one for name, hint in known.items() for one in CONVERT if one == hint.get("data_type")}
    given = fields_of(known)
    room = account.sync[resource.name].new_columns - len(given)
    fields = FieldColumns({*resource.key, *declared}, given, types.keys(), max(0, room))
    batcher = Batcher(resource.name, resource.columns, fields, key=resource.key)
    with connect(account, email=email, api_key=api_key) as connection:
        for records in _records(account, resource, connection):
            batch, rejected = batcher.batch(records)
            found = {name: column_type(name, kinds, types) for name, kinds in batcher.undeclared.items()}
            types |= {name: data_type for name, data_type in found.items() if data_type}
            arrays = typed_arrays(batch, types, declared)
            written = {name: column_type(name, (), types) for name in arrays if name not in declared}
            undeclared = {name: data_type for name, data_type in written.items() if data_type}
            columns = column_hints(resource.columns, undeclared, resource.key, batcher.columns)
            hints = dlt.mark.make_hints(columns=columns)
            yield dlt.mark.with_hints(pa.RecordBatch.from_pydict(arrays), hints)
            if rejected:
                yield dlt.mark.with_hints(rejected_batch(rejected), _REJECTED, create_table_variant=True)


def _records(account: Account, resource: Resource, connection: Connection) -> Iterator[list[Any]]:
    """Yield the records of `resource` page by page, or for one parent after the other."""
    for part in resource.parts:
        if part.parent is None:
            for page in read_pages(part, connection, Traffic()):
                yield page.records
        else:
            for family in read_families(part, connection, Traffic(), _parents(account, part, part.parent, connection)):
                yield family.records


def _parents(account: Account, resource: Resource, parent: str, connection: Connection) -> Iterator[Parent]:
    """Yield what is needed of the records of `parent`."""
    fields = fields_for(parent, [resource])
    for records in _records(account, account.api.resource(parent), connection):
        yield from (one for record in records if (one := parent_of(parent, record, fields)))


def _known_columns(resource: Resource) -> TTableSchemaColumns:
    """Return the columns of `resource` in the schema of the pipeline."""
    table = dlt.current.source_schema().tables.get(resource.name)
    return table["columns"] if table else {}
