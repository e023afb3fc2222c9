"""An API is a list of resources, read from its configuration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Self, cast

from crm_assets.apis.api_config import Cadence, Client, Endpoint, ErrorHandler, Incremental, WriteDisposition
from crm_assets.apis.defaults import complete_rows, endpoint_places
from crm_assets.apis.expressions import parents_of
from crm_assets.apis.files import beside, find_config
from crm_assets.apis.references import Reference, references_in
from crm_assets.apis.validation import validate
from crm_assets.errors import ApiConfigError
from crm_assets.models.columns import Column, collected_column, column_name, columns_of
from crm_assets.models.record import BaseRecord, DataType


@dataclass(frozen=True)
class ProcessingStep:
    """What happens to each record before it is a row."""

    kind: str
    """`filter`, `map` or `yield_map`, as dlt means them."""
    function: Callable[[Any], Any]


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
    include_from_parent: tuple[str, ...] = ()
    """Fields of the parent's record that each of its children gets, as `_<parent>_<field>`."""
    processing_steps: tuple[ProcessingStep, ...] = ()
    more_endpoints: tuple[Endpoint, ...] = ()
    """What is listed after the first endpoint, where the resource has several."""
    remove_fields: tuple[str, ...] = ()
    """Fields that the CRM puts into records and that are not part of them."""
    hints: tuple[Column, ...] = ()
    """Columns that the configuration declares, where there is no model."""

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
        """The declared columns, none without a model or hints. Those of the key are never NULL.

        Fields that are collected from parents have columns too, with a model or without.
        """
        declared = columns_of(self.model) if self.model else self.hints
        kept = [one for one in declared if one.field not in self.remove_fields]
        names = {one.name for one in kept}
        collected = [collected_column(*one) for one in self.collected.items() if column_name(one[0]) not in names]
        return tuple(replace(one, nullable=one.nullable and one.name not in self.key) for one in [*kept, *collected])

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in the order of the configuration."""
        return tuple(map(column_name, self.primary_key))

    @cached_property
    def parts(self) -> tuple[Self, ...]:
        """The resource once for each of its endpoints, with that endpoint alone: one is listed after the other."""
        if not self.more_endpoints:
            return (self,)
        return tuple(replace(self, endpoint=one, more_endpoints=()) for one in (self.endpoint, *self.more_endpoints))

    @cached_property
    def parents(self) -> tuple[str, ...]:
        """The resources whose records this one is requested for, each with a request of its own."""
        found = [parent for part in (self.endpoint, *self.more_endpoints) for parent in parents_of(part)]
        return tuple(dict.fromkeys(found))

    @property
    def parent(self) -> str | None:
        """The parent of the first endpoint, None for none."""
        return next(iter(parents_of(self.endpoint)), None)

    @cached_property
    def collected(self) -> Mapping[str, str]:
        """The fields that become lists of those parents that list the record, each with the parent."""
        return {
            field: next(iter(parents_of(part)))
            for part in (self.endpoint, *self.more_endpoints)
            for field in part.get("collect_from_parent", {})
        }

    @cached_property
    def may_repeat(self) -> bool:
        """Whether one record may be listed several times, and is the same one each time."""
        return bool(self.more_endpoints or self.collected or self.paginator_type == "time_window")

    @property
    def inherited(self) -> Mapping[str, str]:
        """The columns that hold a field of the parent's record, each with the column that holds it there."""
        return {column_name(f"_{self.parent}_{field}"): column_name(field) for field in self.include_from_parent}

    @property
    def paginator_type(self) -> str | None:
        """Name of the paginator; None where the configuration names none, empty for one that is an object."""
        paginator = self.endpoint.get("paginator")
        if isinstance(paginator, Mapping):
            return str(paginator["type"])
        return paginator if paginator is None or isinstance(paginator, str) else ""

    @property
    def incremental(self) -> Incremental | None:
        """What asks for the records that are new; None for a resource that is always listed whole."""
        if found := self.endpoint.get("incremental"):
            return found
        for name, value in self.endpoint.get("params", {}).items():
            if isinstance(value, Mapping) and value.get("type") == "incremental":
                others = {word: one for word, one in value.items() if word != "type"}
                return cast(Incremental, {"start_param": name, **others})
        return None

    @property
    def error_handler(self) -> ErrorHandler:
        """What is retried."""
        return cast(ErrorHandler, self.endpoint["error_handler"])

    @property
    def has_pages(self) -> bool:
        """Whether a listing may have more than one page."""
        has_one = self.paginator_type in (None, "single_page") and not self.more_endpoints
        return not has_one or self.parent is not None


@dataclass(frozen=True)
class Api:
    """One API, whole: its resources in the order of the configuration."""

    resources: tuple[Resource, ...]
    """All of them, also those that are read for their children only."""
    client: Client = field(default_factory=Client, repr=False)
    unselected: frozenset[str] = frozenset()
    """Resources that are read for their children, and not loaded."""
    file: Path | None = None
    """Where the configuration stands, if it is in a file."""

    def select(self, names: Sequence[str]) -> tuple[Resource, ...]:
        """Return the resources called `names`, in the API's order; all that are loaded for no names.

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
        wanted = names or [name for name in known if name not in self.unselected]
        return tuple(resource for resource in self.resources if resource.name in wanted)

    def resource(self, name: str) -> Resource:
        """Return the resource called `name`."""
        return next(resource for resource in self.resources if resource.name == name)

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """What requests refer to beside the address, each once: settings, secrets, the environment."""
        client = {word: value for word, value in self.client.items() if word != "base_url"}
        parts = [client, *(part.endpoint for resource in self.resources for part in resource.parts)]
        return tuple(dict.fromkeys(reference for part in parts for reference in references_in(part)))

    @cached_property
    def address_references(self) -> tuple[Reference, ...]:
        """What the address refers to, each once."""
        return tuple(dict.fromkeys(references_in(self.client.get("base_url"))))

    @cached_property
    def login_references(self) -> frozenset[Reference]:
        """What the logins and headers refer to: it must not be shown, wherever it comes from."""
        endpoints = [part.endpoint for resource in self.resources for part in resource.parts]
        newer = [one for endpoint in endpoints for one in endpoint.get("incremental", {}).get("endpoints", [])]
        parts = [self.client, *endpoints, *newer]
        return frozenset(references_in([part.get(word) for part in parts for word in ("auth", "headers")]))


def load_api(api: Any, folder: Path) -> Api:
    """Return the API that `api` names, or is.

    Args:
        api: `v1`, the path of a file, `module:NAME`, or a configuration as such.
        folder: where a relative path begins.

    Raises:
        ApiConfigError: there is none, or it has an unknown or unusable entry.
    """
    if not isinstance(api, str):
        return read_api(api, "api")
    config, file = find_config(api, folder)
    return read_api(config, file.name, file)


def read_api(config: Any, origin: str = "api", file: Path | None = None) -> Api:
    """Return the API that `config` describes.

    Args:
        config: the configuration, in the words of `api_config.py`.
        origin: what it is called in messages.
        file: where it stands.

    Raises:
        ApiConfigError: the configuration has an unknown or unusable entry.
    """
    valid = validate(config, origin)
    rows = complete_rows(valid)
    unselected = frozenset(row["name"] for row in rows if not row.get("selected", True))
    return Api(tuple(_resource(row, origin, file) for row in rows), valid["client"], unselected, file)


def _resource(row: Mapping[str, Any], origin: str, file: Path | None) -> Resource:
    place = f"{origin}: resources.{row['name']}"
    first, *more = [
        _endpoint(one, f"{place}.{where}", file)
        for one, where in zip(row["endpoints"], endpoint_places(row), strict=True)
    ]
    return Resource(
        name=row["name"],
        endpoint=first,
        more_endpoints=tuple(more),
        remove_fields=tuple(row.get("remove_fields", ())),
        model=_model(row.get("model"), row.get("primary_key", ()), place, file),
        cadence=row["cadence"],
        primary_key=row.get("primary_key", ()),
        write_disposition=row["write_disposition"],
        include_from_parent=tuple(row.get("include_from_parent", ())),
        processing_steps=tuple(_steps(row.get("processing_steps", ()), place, file)),
        hints=tuple(_hint(name, hint, row.get("primary_key", ())) for name, hint in row["columns"].items()),
    )


def _endpoint(endpoint: Mapping[str, Any], place: str, file: Path | None) -> Endpoint:
    """Return `endpoint` with its functions in the place of their names."""
    found: dict[str, Any] = dict(endpoint)
    if actions := endpoint.get("response_actions"):
        where = f"{place}.response_actions"
        found["response_actions"] = [{**one, "action": _functions(one["action"], where, file)} for one in actions]
    incremental = dict(endpoint.get("incremental", {}))
    if "convert" in incremental:
        incremental["convert"] = _functions(incremental["convert"], f"{place}.incremental.convert", file)
    if "endpoints" in incremental:
        where = f"{place}.incremental.endpoints"
        newer = [_endpoint(one, f"{where}.{number}", file) for number, one in enumerate(incremental["endpoints"])]
        incremental["endpoints"] = newer
    return cast(Endpoint, {**found, "incremental": incremental} if incremental else found)


def _functions(named: Any, place: str, file: Path | None) -> Any:
    if isinstance(named, list):
        return [_functions(one, place, file) for one in named]
    return _named_object(named, place, file) if isinstance(named, str) and named != "ignore" else named


def _model(named: Any, key: Sequence[str], place: str, file: Path | None) -> type[BaseRecord] | None:
    if named is None:
        return None
    model = _named_object(named, f"{place}.model", file) if isinstance(named, str) else named
    if not isinstance(model, type) or not issubclass(model, BaseRecord):
        raise ApiConfigError(
            f"{place}.model: {named!r} is not a model; derive it from crm_assets.models.record.Record."
        )
    required = {name for name, info in model.model_fields.items() if info.is_required()}
    if missing := [name for name in key if name not in required]:
        raise ApiConfigError(
            f"{place}.model: {model.__name__} does not declare {', '.join(missing)}, of the primary key, as required."
        )
    return model


def _named_object(name: str, place: str, file: Path | None) -> Any:
    """Return the object that `name` says: `module:name`, or `file.py:name` beside the configuration `file`."""
    try:
        if file and ".py:" in name:
            return beside(file, name)
        return resolve_name(name)
    except Exception as error:
        raise ApiConfigError(f"{place}: {name!r} cannot be imported: {error}.") from error


def _steps(steps: Sequence[Mapping[str, Any]], place: str, file: Path | None) -> Iterator[ProcessingStep]:
    for number, step in enumerate(steps):
        for kind, function in step.items():
            where = f"{place}.processing_steps.{number}.{kind}"
            yield ProcessingStep(kind, _functions(function, where, file))


def _hint(name: str, hint: Mapping[str, Any], key: Sequence[str]) -> Column:
    return Column(
        name=column_name(name),
        field=name,
        data_type=DataType(hint["data_type"]),
        nullable=hint.get("nullable", name not in key),
        description=hint.get("description", ""),
    )
