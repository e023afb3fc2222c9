"""`CrmComponent`: an account mounted by YAML in any Dagster deployment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.scaffold.scaffold import Scaffolder, ScaffoldRequest
from pydantic import BaseModel

from crm_assets.account import Account, resolve_account
from crm_assets.apis.references import Referring
from crm_assets.errors import ApiConfigError
from crm_assets.orchestration import build_defs
from crm_assets.orchestration.unusable import unusable_account


class CrmComponentScaffolder(Scaffolder[BaseModel]):
    """Writes the YAML of a new component: the account is called like its folder."""

    def scaffold(self, request: ScaffoldRequest[BaseModel]) -> None:
        """Write `defs.yaml`."""
        scaffold_component(request, {"account": request.target_path.name})


def _setting(description: str, example: Any) -> dg.Resolver:
    resolver: dg.Resolver = dg.Resolver.default(
        description=f"{description} Default: the value in dlt's settings.", examples=[example]
    )
    return resolver


@dg.scaffold_with(CrmComponentScaffolder)
class CrmComponent(dg.Component, dg.Resolvable, dg.Model):
    """Loads a CRM account into a warehouse: an asset per resource, checks, jobs, schedules and sensors.

    `account` alone is enough. Settings and login come from dlt's section `sources.<account>` of the deployment; every
    other attribute goes before them. Nothing of the deployment is changed, and no file is written beside its code.
    """

    account: Annotated[
        str,
        dg.Resolver.default(
            description="Name of the account. Its settings are in dlt's section `sources.<account>`, its assets are "
            "`<account>/contacts` and so on, its jobs `<account>_all` and so on.",
            examples=["acme"],
        ),
    ]
    api: Annotated[
        str | Mapping[str, Any] | None,
        _setting(
            "The CRM's API: its name, the path of a Python or YAML file, `module:NAME`, or the configuration itself.",
            "apis/shop.yaml",
        ),
    ] = None
    base_url: Annotated[str | None, _setting("Address of the CRM, or `sandbox`.", "https://api.example.com")] = None
    destination: Annotated[str | None, _setting("Name of the dlt destination.", "duckdb")] = None
    dataset: Annotated[str | None, _setting("Dataset (schema) of the tables.", "crm_acme")] = None
    key_prefix: Annotated[
        str | Sequence[str] | None,
        _setting("Prefix of the asset keys, else the account's name.", ["raw", "acme"]),
    ] = None
    resources: Annotated[
        Sequence[str] | None, _setting("The resources to load, else all of the API.", ["contacts", "deals"])
    ] = None
    cadences: Annotated[
        Mapping[str, str] | None,
        _setting("`frequent` or `daily`, by resource, overriding the API's.", {"deals": "daily"}),
    ] = None
    sync: Annotated[
        Mapping[str, Any] | None,
        _setting(
            "Settings of the section `sync`; a mapping under a resource's name is for that resource alone.",
            {"deletes": "keep", "deals": {"history": True}},
        ),
    ] = None
    checks: Annotated[
        Mapping[str, Any] | None,
        _setting("Thresholds of the section `checks`, in the same way as `sync`.", {"rejected_share": 0.05}),
    ] = None
    automation: Annotated[
        Mapping[str, Any] | None,
        _setting("Settings of the section `automation`.", {"enabled": True, "frequent_cron": "*/15 * * * *"}),
    ] = None
    alerts: Annotated[
        Mapping[str, Any] | None,
        _setting("Settings of the section `alerts`.", {"webhook_url": "{{ env.SLACK_WEBHOOK_URL }}"}),
    ] = None
    data_dir: Annotated[
        str | None,
        _setting("Folder for locks, unfinished listings and the DuckDB file, else one in `DAGSTER_HOME`.", "/data/crm"),
    ] = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return what `dg` shows of this type."""
        return dg.ComponentTypeSpec(
            description="Loads a CRM account into a warehouse: assets, checks, jobs, schedules and sensors.",
            tags=["crm", "dlt"],
            produces=["asset", "asset_check", "job", "schedule", "sensor", "resource"],
        )

    @classmethod
    def get_additional_scope(cls) -> Mapping[str, Any]:
        """Return what `{{ }}` may refer to in the YAML beside the environment: `dlt.secrets`, `dlt.config`."""
        return {"dlt": SimpleNamespace(secrets=Referring("dlt.secrets"), config=Referring("dlt.config"))}

    def resolved(self, folder: Path) -> Account:
        """Return the account that the component mounts.

        Args:
            folder: where the relative path of an API's file begins, if the component names one.

        Raises:
            SettingError: names every setting that cannot be used.
            ApiConfigError: the API cannot be read.
        """
        given = self.model_dump(exclude={"account"})
        return resolve_account(self.account, folder=folder if self.api else None, **given)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of the account; where its API cannot be read, definitions that say why.

        A relative path of an API begins in the folder of the component.

        Raises:
            SettingError: names every setting that cannot be used.
        """
        try:
            return build_defs(self.resolved(context.path))
        except ApiConfigError as error:
            return unusable_account(self.account, error)
