"""An API is a list of resources, read from its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Literal

from crm_assets.apis.api_config import ApiConfig, Cadence, Endpoint, validate
from crm_assets.apis.v1 import V1
from crm_assets.errors import ApiConfigError
from crm_assets.models import MODELS
from crm_assets.models.columns import Column, column_name, columns_of
from crm_assets.models.record import BaseRecord

API_CONFIGS: Mapping[str, ApiConfig] = {"v1": V1}
"""The configuration of each API that comes with the project, by the value of `sources.<account>.api`."""


WriteDisposition = Literal["merge", "append", "replace"]
"""What a load does with the rows that a table has: dlt's words."""


@dataclass(frozen=True)
class Resource:
    """One resource of an API: how it is read, what its records are, and how often it is loaded."""

    name: str
    endpoint: Endpoint
    """Complete: what the configuration leaves out is filled in from its defaults."""
    model: type[BaseRecord] | None
    """None if nothing is declared of the records: their columns are then inferred."""
    cadence: Cadence
    primary_key: tuple[str, ...] = ("id",)
    """Fields that tell one record from another; none for records that are only appended."""
    write_disposition: WriteDisposition = "merge"

    def __post_init__(self) -> None:
        """Refuse a merge without anything to merge on: dlt would append.

        Raises:
            ApiConfigError: the resource has no primary key.
        """
        if self.write_disposition == "merge" and not self.primary_key:
            raise ApiConfigError(
                f"{self.name}: write_disposition is merge, and no primary_key tells one record from another. "
                "Name the fields of one, or set write_disposition to append or replace."
            )

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The declared columns, none without a model. Those of the key are never NULL."""
        declared = columns_of(self.model) if self.model else ()
        return tuple(replace(one, nullable=one.nullable and one.name not in self.key) for one in declared)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in the order of the configuration."""
        return tuple(map(column_name, self.primary_key))

    @cached_property
    def has_pages(self) -> bool:
        """Whether a listing may have more than one page."""
        return self.endpoint["paginator"]["type"] != "single_page"


@dataclass(frozen=True)
class Api:
    """One API, whole: its resources in the order of the configuration."""

    resources: tuple[Resource, ...]

    def select(self, names: Sequence[str]) -> tuple[Resource, ...]:
        """Return the resources called `names`, in the API's order; all of them for no names.

        Raises:
            ApiConfigError: names what the API does not have.
        """
        known = [resource.name for resource in self.resources]
        if unknown := [name for name in names if name not in known]:
            near = dict.fromkeys(
                match for name in unknown for match in get_close_matches(name, known, n=1, cutoff=0.75)
            )
            meant = f" Did you mean {', '.join(near)}?" if near else ""
            raise ApiConfigError(f"Unknown resource: {', '.join(unknown)}.{meant} Known: {', '.join(known)}.")
        return tuple(resource for resource in self.resources if not names or resource.name in names)


def read_api(config: ApiConfig) -> Api:
    """Return the API that `config` describes.

    Raises:
        ApiConfigError: the configuration has an unknown or unusable entry.
    """
    validate(config)
    defaults = config["resource_defaults"]["endpoint"]
    return Api(
        tuple(
            Resource(row["name"], {**defaults, **row["endpoint"]}, MODELS[row["name"]], row["cadence"])
            for row in config["resources"]
        )
    )
