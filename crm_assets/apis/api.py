"""An API is a list of resources, read from its configuration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from crm_assets.apis.api_config import Cadence, Client, Endpoint, ErrorHandler, Incremental, WriteDisposition
from crm_assets.apis.defaults import complete_rows
from crm_assets.apis.expressions import parents_of
from crm_assets.apis.files import beside, find_config
from crm_assets.apis.references import Reference, references_in
from crm_assets.apis.validation import validate
from crm_assets.errors import ApiConfigError
from crm_assets.models.columns import Column, column_name, columns_of
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
        """The declared columns, none without a model or hints. Those of the key are never NULL."""
        declared = columns_of(self.model) if self.model else self.hints
        return tuple(replace(one, nullable=one.nullable and one.name not in self.key) for one in declared)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in the order of the configuration."""
        return tuple(map(column_name, self.primary_key))

    @cached_property
    def parent(self) -> str | None:
        """The resource whose records this one is requested for, each with a request of its own."""
        return next(iter(parents_of(self.endpoint)), None)

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
        return self.paginator_type not in (None, "single_page") or self.parent is not None


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
        parts = [client, *(resource.endpoint for resource in self.resources)]
        return tuple(dict.fromkeys(reference for part in parts for reference in references_in(part)))

    @cached_property
    def address_references(self) -> tuple[Reference, ...]:
        """What the address refers to, each once."""
        return tuple(dict.fromkeys(references_in(self.client.get("base_url"))))

    @cached_property
    def login_references(self) -> frozenset[Reference]:
        """What the logins and headers refer to: it must not be shown, wherever it comes from."""
        parts = [self.client, *(resource.endpoint for resource in self.resources)]
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
    return Resource(
        name=row["name"],
        endpoint=_endpoint(row["endpoint"], f"{place}.endpoint", file),
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
    incremental = endpoint.get("incremental", {})
    if "convert" in incremental:
        convert = _functions(incremental["convert"], f"{place}.incremental.convert", file)
        found["incremental"] = {**incremental, "convert": convert}
    return cast(Endpoint, found)


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
