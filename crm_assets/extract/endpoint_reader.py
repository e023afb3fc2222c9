"""Read an endpoint with dlt's client, request by request, without the pipes that `rest_api` puts around it.

They take longer than the request itself, which matters where each of thousands of parents has one.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

from dlt.common import jsonpath
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.rest_api.config_setup import build_parent_record, create_response_hooks, expand_placeholders
from requests import Response

from crm_assets.apis.api import Resource
from crm_assets.apis.expressions import placeholders_of
from crm_assets.errors import Cancelled, CrmAssetsError, CrmError, own_error
from crm_assets.extract.client import CrmSession
from crm_assets.extract.collected import with_member
from crm_assets.extract.connection import Connection
from crm_assets.extract.pages import Guard, Page, page_of, processed, redacted_error
from crm_assets.extract.paginators import ListingPaginator, paginator_of
from crm_assets.extract.parents import Parent
from crm_assets.extract.rest_api import request_of, response_actions


class _Client(RESTClient):
    """dlt's client, but that it does not parse anew, for each response, the selector that it finds."""

    def detect_data_selector(self, response: Response) -> Any:
        """Return where the records are in `response`."""
        return _compiled(super().detect_data_selector(response))


_compiled = cache(jsonpath.compile_path)


class EndpointReader:
    """Reads an endpoint over the connection of `session`: the children of a parent, or the first page of a listing."""

    def __init__(self, resource: Resource, connection: Connection, session: CrmSession) -> None:
        self._resource = resource
        self._connection = connection
        headers = connection.resolve(connection.headers)
        self._client = _Client(connection.base_url, headers, session=session)
        self._request = request_of(resource, connection)
        self._placeholders = placeholders_of(resource.endpoint)
        self._collected = resource.endpoint.get("collect_from_parent", {})
        selector = resource.endpoint.get("data_selector")
        self._selector = jsonpath.compile_path(selector) if selector else None

    def read(self, parent: Parent) -> tuple[list[Any], int | None]:
        """Return the records of all children of `parent`, and how many the CRM says that there are, if it does.

        Raises:
            CrmError: they could not be read; names the parent.
            Cancelled: somebody ended the run.
        """
        try:
            return self._records(parent)
        except Exception as error:
            raise self._named(own_error(error, self._resource.name), parent) from None

    def first_page(self) -> list[Any]:
        """Return the records of the first page.

        Raises:
            CrmError: it could not be read.
        """
        try:
            page = next(self._pages({}), None)
        except Exception as error:
            raise redacted_error(own_error(error, self._resource.name), self._connection) from None
        return processed(page.records, self._resource.processing_steps) if page else []

    def _records(self, parent: Parent) -> tuple[list[Any], int | None]:
        guard = Guard(self._resource, self._connection)
        inherited = build_parent_record(dict(parent), str(self._resource.parent), [*self._resource.include_from_parent])
        records: list[Any] = []
        count: int | None = None
        for page in self._pages(parent):
            guard.check(page)
            if self._connection.cancelled.is_set():
                raise Cancelled(f"{self._resource.name}: reading was cancelled.")
            records += page.records
            count = page.count if count is None else count
        collected = {field: parent[name] for field, name in self._collected.items()}
        for record in records:
            if isinstance(record, dict):
                record.update(inherited)
                for field, value in collected.items():
                    record[field] = with_member(record.get(field), value)
        # Who filters has another number of records than the CRM.
        steps = self._resource.processing_steps
        return processed(records, steps), None if steps else count

    def _pages(self, parent: Parent) -> Iterator[Page]:
        for data in self._client.paginate(
            **self._request_for(parent),
            paginator=ListingPaginator(self._resource.name, paginator_of(self._resource, self._connection)),
            data_selector=self._selector,
            hooks=create_response_hooks(response_actions(self._resource, self._connection)),
        ):
            yield page_of(data, self._resource)

    def _request_for(self, parent: Parent) -> dict[str, Any]:
        """Return the request for the children of `parent`, its values put in as dlt does."""
        values = {name: parent[field] for name, field in self._placeholders.items()}
        in_path = {name: quote(str(value), safe="/:@") for name, value in values.items()}
        given = dict(self._request)
        if "params" in given:
            given["params"] = {name: value for name, value in given["params"].items() if name not in values}
        return {
            word: expand_placeholders(value, in_path if word == "path" else values, preserve_value_type=word == "json")
            for word, value in given.items()
        }

    def _named(self, error: CrmAssetsError, parent: Parent) -> CrmAssetsError:
        """Return `error` with the parent at which it came up."""
        error = redacted_error(error, self._connection)
        if not isinstance(error, CrmError):
            return error
        of = ", ".join(f"{name} {value}" for name, value in parent.items())
        why = f"of {self._resource.parent} with {of}: {error.why}"
        return type(error)(error.resource, why, error.advice, status=error.status)
