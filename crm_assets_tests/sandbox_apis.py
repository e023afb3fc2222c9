"""The APIs that the sandbox speaks: how each is loaded, and what its tables hold of the sandbox's records."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crm_assets.account import Account
from crm_assets.apis.api import Resource, read_api
from crm_assets.apis.files import find_config
from crm_assets.project import ROOT
from crm_assets.sandbox.api import API_NAMES, ApiName
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import an_account, impatient, unlimited

CONFIGS: Final[Mapping[ApiName, Any]] = {name: unlimited(impatient(find_config(name, ROOT)[0])) for name in API_NAMES}
"""The configuration of each API, with retries that hardly wait."""
RESOURCES_OF: Final[Mapping[ApiName, Mapping[str, Resource]]] = {
    name: {resource.name: resource for resource in read_api(config).resources} for name, config in CONFIGS.items()
}
"""The resources of each API by name."""
LISTS_OF_PARENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "notes": {"contacts": "contact_ids", "deals": "deal_ids"},
    "documents": {"contacts": "contact_ids"},
    "tickets": {"ticket_filters": "filter_ids"},
}
"""The parents below which `agilecrm` lists a resource, each with the field that has those of a record."""


def account_of(api: ApiName, **given: Any) -> Account:
    """Return the account that the settings describe, of one of the APIs, with retries that hardly wait."""
    return an_account(api=CONFIGS[api], **given)


def parents_in(api: ApiName, resource: str) -> tuple[str, ...]:
    """Return the resources whose records `resource` is listed below."""
    return tuple(LISTS_OF_PARENTS.get(resource, ())) if api == "agilecrm" else ()


def children_in(api: ApiName, resource: str) -> tuple[str, ...]:
    """Return the resources that are listed below the records of `resource`."""
    return tuple(child for child in LISTS_OF_PARENTS if resource in parents_in(api, child))


def records_of(api: ApiName, sandbox: Sandbox, resource: str) -> Iterator[Any]:
    """Return the records of `resource` of which the table is made when it is loaded now, through one of the APIs."""
    if api == "v1":
        return sandbox.crm.records(resource)
    fields = LISTS_OF_PARENTS.get(resource, {})
    parents = sandbox.relations.parents(resource) if fields else {}
    return (
        _with_lists(record, fields, parents[int(record["id"])]) if fields else record
        for record in sandbox.reachable(resource)
    )


def _with_lists(record: Any, fields: Mapping[str, str], parents: Mapping[str, list[int]]) -> Any:
    """Return `record` with the parents that it says itself, and those below which it is found."""
    lists = {}
    for parent, field in fields.items():
        said = record.get(field)
        found = set(map(str, parents.get(parent, ())))
        if isinstance(said, list):
            lists[field] = sorted(found.union(map(str, said)))
        elif found and not said:
            lists[field] = sorted(found)
    return {**record, **lists}
