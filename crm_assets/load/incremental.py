"""Which listings need only what is new, and from which value on: the warehouse knows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.apis.api_config import cursor_fields
from crm_assets.extract.incremental import KnownRecords, Start, start_value
from crm_assets.load.deletes import table_columns
from crm_assets.load.key_sql import key_sql
from crm_assets.load.resource_loads import last_full_listings, last_loads
from crm_assets.models.columns import column_name, deletion_hints


def listing_starts(account: Account, client: SqlClientBase[Any], resources: Sequence[Resource]) -> dict[str, Start]:
    """Return from where each of `resources` is listed; what is not in it is listed whole.

    A resource whose parent is asked for what is new only is itself asked for the children of these alone. Where one of
    them is due to be listed whole, its parent is.

    Args:
        account: whose resources they are.
        client: a connection to the warehouse.
        resources: what a run is to load.
    """
    listed, loaded = last_full_listings(client), last_loads(client)
    due = {one.name for one in resources if _is_due(account, one, listed) or _has_missed(one, loaded)}
    for child in reversed(_parents_first(resources)):
        if child.name in due:
            due.update(child.parents)
    starts: dict[str, Start] = {}
    for resource in _parents_first(resources):
        if resource.name in due:
            continue
        is_parent = any(resource.name in one.parents for one in resources)
        own = _own_start(account, client, resource, is_parent=is_parent)
        inherited = [f"{parent} from {starts[parent]}" for parent in resource.parents if parent in starts]
        if own is not None:
            starts[resource.name] = own
        elif inherited:
            starts[resource.name] = Start(None, ", ".join(inherited))
    return starts


def _parents_first(resources: Sequence[Resource]) -> list[Resource]:
    by_name = {one.name: one for one in resources}

    def generation(resource: Resource) -> int:
        parents = [by_name[name] for name in resource.parents if name in by_name]
        return 1 + max(map(generation, parents)) if parents else 0

    return sorted(resources, key=generation)


def _is_due(account: Account, resource: Resource, listed: Mapping[str, datetime]) -> bool:
    settings, last = account.sync[resource.name], listed.get(resource.name)
    if settings.mode == "full" or last is None or resource.write_disposition == "replace":
        return True
    return datetime.now(UTC) - last >= timedelta(seconds=settings.full_listing_interval)


def _has_missed(resource: Resource, loaded: Mapping[str, str]) -> bool:
    """Return whether a parent was loaded without the resource, which then lacks the children of what was new."""
    parents = [loaded[name] for name in resource.parents if name in loaded]
    return bool(parents) and loaded.get(resource.name, "") < max(parents)


def _own_start(account: Account, client: SqlClientBase[Any], resource: Resource, *, is_parent: bool) -> Start | None:
    """Return where the resource itself begins; None if it has no cursor, or the table no value of it."""
    incremental = resource.incremental
    if incremental is None:
        return None
    fields, there = cursor_fields(incremental), table_columns(client, resource.name)
    columns = [name for name in map(column_name, fields) if name in there]
    found = [value for name in columns if (value := _newest(client, resource.name, name)) is not None]
    if not found:
        return None
    newest = max(found)
    # What is asked for twice is merged, and only there it does no harm.
    look_back = account.sync[resource.name].look_back if resource.write_disposition == "merge" else 0.0
    value = start_value(incremental, newest, look_back)
    known = None
    if is_parent and isinstance(newest, datetime):
        begin = start_value({**incremental, "initial_value": newest}, newest, look_back)  # the same, not written out
        known = _known(client, resource, fields, begin)
    return Start(value, f"{' or '.join(fields)} {value}", known)


def _known(client: SqlClientBase[Any], resource: Resource, fields: Sequence[str], begin: datetime) -> KnownRecords:
    """Return what the table has from `begin` on, but for what the CRM no longer lists."""
    there, table = table_columns(client, resource.name), client.make_qualified_table_name(resource.name)
    times = [client.escape_column_name(name) for name in map(column_name, fields) if name in there]
    values = [client.escape_column_name(name) if name in there else "NULL" for name in map(column_name, fields)]
    living = [f"{client.escape_column_name(name)} IS NULL" for name in deletion_hints() if name in there]
    newer = " OR ".join(f"{name} >= %s" for name in times)
    rows = client.execute_sql(
        f"SELECT {key_sql(client, resource.key)}, {', '.join(values)} FROM {table}"
        f" WHERE {' AND '.join([f'({newer})', *living])}",
        *[begin] * len(times),
    )
    size = len(resource.key)
    return KnownRecords(
        resource.primary_key, tuple(fields), {tuple(map(str, row[:size])): tuple(row[size:]) for row in rows or ()}
    )


def _newest(client: SqlClientBase[Any], table: str, column: str) -> Any:
    """Return the largest value of `column`; of times the largest that is not to come, which would hide all others."""
    name, now = client.escape_column_name(column), datetime.now(UTC)
    largest = f"SELECT max({name}) FROM {client.make_qualified_table_name(table)}"
    [[newest]] = client.execute_sql(largest) or [[None]]
    if isinstance(newest, datetime) and newest > now:
        [[newest]] = client.execute_sql(f"{largest} WHERE {name} <= %s", now) or [[None]]
    return newest
