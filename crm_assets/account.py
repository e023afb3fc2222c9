"""An account: what is loaded, how, and where to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crm_assets.address import composed_address, refuse_sandbox
from crm_assets.apis.api import Api, Resource, load_api
from crm_assets.apis.api_config import Cadence
from crm_assets.errors import SettingError
from crm_assets.project import mounted_data_directory, project_directory
from crm_assets.settings import (
    SANDBOX,
    AccountSettings,
    AutomationSettings,
    CheckSettings,
    SyncSettings,
    WarehouseSettings,
    find_setting,
    split_names,
)

DEFAULT_ACCOUNT = "crm"
"""The account of the stand-alone project as shipped."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")


@dataclass(frozen=True)
class Account:
    """One CRM account and the place where its tables go. Everything downstream gets this value or a part of it.

    It holds no secret: the run reads e-mail and API key, the alerts sensor its addresses.
    """

    name: str
    """Part of all names in Dagster: keys `<name>/contacts`, group `<name>`, jobs `<name>_all` and so on."""
    api: Api
    """How the CRM is read, whole."""
    resources: tuple[Resource, ...]
    """What is loaded of it, in the order of the API."""
    crm: AccountSettings
    """Address and limits."""
    warehouse: WarehouseSettings
    """Destination and limits. The dataset of the tables is `dataset`."""
    sync: Mapping[str, SyncSettings]
    """Deletes, history and resuming, by resource."""
    checks: Mapping[str, CheckSettings]
    """Thresholds, by resource."""
    automation: AutomationSettings
    alerts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Values that go before the section `alerts`, which the sensor reads at each tick."""
    data_dir: Path = Path()
    """Folder for locks, unfinished listings and working files, and for the DuckDB file if no other is configured."""
    retry_pause: float = 5.0
    """Seconds before a step tries once more what did not load because the CRM or the warehouse was busy."""

    def __post_init__(self) -> None:
        """Refuse a history of records that nothing tells apart.

        Raises:
            SettingError: names the setting and the resource.
        """
        for resource in self.resources:
            is_kept = resource.key and resource.write_disposition != "append"
            if self.sync[resource.name].history and not is_kept:
                why = "has no primary key" if not resource.key else "is only appended to"
                raise SettingError(
                    f"sync.history is on for {resource.name}, which {why}, so that no row is another version of one "
                    f"before. Set `history = false` under [{self.section}.sync.{resource.name}] in .dlt/config.toml."
                )

    @property
    def is_sandbox(self) -> bool:
        """Whether the CRM is the one on loopback that comes with the project."""
        return self.crm.base_url == SANDBOX

    @property
    def dataset(self) -> str:
        """Dataset (schema) of the tables. The sandbox never writes into a real CRM's."""
        return f"{self.warehouse.dataset}_sandbox" if self.is_sandbox else self.warehouse.dataset

    @property
    def key_prefix(self) -> tuple[str, ...]:
        """Prefix of the asset keys."""
        return self.crm.key_prefix or (self.name,)

    def __str__(self) -> str:
        crm = "the sandbox CRM" if self.is_sandbox else self.crm.base_url or "a CRM without base_url"
        return f"{self.name}: {crm} → {self.warehouse.destination}, dataset {self.dataset}"

    @property
    def section(self) -> str:
        """Section of the account's settings."""
        return f"sources.{self.name}"

    def select(self, names: Sequence[str]) -> tuple[Resource, ...]:
        """Return the resources called `names`; all of them for no names.

        Raises:
            ApiConfigError: names what the account does not load.
        """
        return Api(self.resources).select(names)

    def resource(self, name: str) -> Resource:
        """Return the resource called `name`."""
        return Api(self.resources).resource(name)

    def table_id(self, resource: str) -> str:
        """Return the name under which locks and unfinished listings of a resource are kept."""
        return f"{self.name}.{resource}"


def resolve_account(
    name: str = DEFAULT_ACCOUNT,
    *,
    api: Any = None,
    base_url: str | None = None,
    page_size: int | None = None,
    destination: str | None = None,
    dataset: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    resources: Sequence[str] | None = None,
    cadences: Mapping[str, str] | None = None,
    sync: Mapping[str, Any] | None = None,
    checks: Mapping[str, Any] | None = None,
    automation: Mapping[str, Any] | None = None,
    alerts: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    fallback_dir: Path | None = None,
    folder: Path | None = None,
) -> Account:
    """Return the account called `name`, as dlt's settings and the arguments describe it.

    An argument goes before the settings of `sources.<name>`, and these before the general sections.

    Args:
        name: lower-case letters, digits and underscores.
        api: name of an API that comes with the project, the path of a file, `module:NAME`, or a configuration as such.
        base_url: address of the CRM, or `sandbox`.
        page_size: records per page.
        destination: name of a dlt destination.
        dataset: dataset (schema) of the tables.
        key_prefix: prefix of the asset keys.
        resources: names of the resources to load.
        cadences: `frequent` or `daily`, by resource, where the API says otherwise.
        sync: values of the section `sync`; a mapping under a resource's name is for that resource alone.
        checks: values of the section `checks`, in the same way.
        automation: values of the section `automation`.
        alerts: values of the section `alerts`.
        data_dir: folder for locks, unfinished listings and the DuckDB file.
        fallback_dir: that folder, if neither `data_dir` nor a setting names one; None for one in `DAGSTER_HOME`.
        folder: where the relative path of an API's file begins; None for the folder of `.dlt/`.

    Raises:
        SettingError: names every setting that cannot be used.
        ApiConfigError: the API is not known, or cannot be used, or lacks one of `resources`.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(f"{name!r} is not a valid account name: use lower-case letters, digits and underscores.")
    given = {
        "api": api if isinstance(api, str) else None,
        "base_url": base_url,
        "page_size": page_size,
        "key_prefix": split_names(key_prefix),
        "resources": resources or None,
        "cadences": cadences,
        "data_dir": data_dir,
    }
    crm = AccountSettings.read(name, given)
    whole = load_api(crm.api if api is None or isinstance(api, str) else api, folder or project_directory())
    written = whole.client.get("base_url")
    if crm.base_url == SANDBOX:
        refuse_sandbox(written, name)
    elif crm.base_url is None and written is not None and (address := composed_address(written, name)):
        crm = AccountSettings.read(name, {**given, "base_url": address})
    found = _cadenced(whole.select(crm.resources), crm.cadences)
    names = [resource.name for resource in found]
    automated = AutomationSettings.read(name, automation)
    Api(found).select(automated.watch or ())
    return Account(
        name=name,
        api=whole,
        resources=found,
        crm=crm,
        warehouse=_warehouse(name, {"destination": destination, "dataset": dataset}),
        sync={one: SyncSettings.read(name, _of_resource("sync", sync, one, names), one) for one in names},
        checks={one: CheckSettings.read(name, _of_resource("checks", checks, one, names), one) for one in names},
        automation=automated,
        alerts=alerts or {},
        data_dir=(crm.data_dir or fallback_dir or mounted_data_directory()).absolute(),
    )


def _cadenced(resources: Sequence[Resource], cadences: Mapping[str, Cadence]) -> tuple[Resource, ...]:
    Api(tuple(resources)).select(list(cadences))
    return tuple(replace(one, cadence=cadences.get(one.name, one.cadence)) for one in resources)


def _warehouse(name: str, given: Mapping[str, Any]) -> WarehouseSettings:
    found = WarehouseSettings.read(name, given)
    has_its_own = given["dataset"] is not None or find_setting(f"sources.{name}.warehouse.dataset") is not None
    if has_its_own or name == DEFAULT_ACCOUNT:
        return found
    return found.model_copy(update={"dataset": f"{found.dataset}_{name}"})


def _of_resource(
    section: str, given: Mapping[str, Any] | None, resource: str, known: Sequence[str]
) -> Mapping[str, Any]:
    """Return the values of `given` for `resource`: its own go before those for all."""
    own = {name: value for name, value in (given or {}).items() if isinstance(value, Mapping)}
    if unknown := own.keys() - set(known):
        raise SettingError(f"{section}: unknown resource {', '.join(sorted(unknown))}. Known: {', '.join(known)}.")
    return {name: value for name, value in (given or {}).items() if name not in own} | dict(own.get(resource, {}))
