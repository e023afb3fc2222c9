"""A file of accounts: YAML, from names to settings. dlt finds these settings behind all others of the account."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from crm_assets.errors import SettingError
from crm_assets.project import project_directory

_PROVIDER = "crm_assets accounts"
_MERGE = "tag:yaml.org,2002:merge"
_SUFFIXES = (".yaml", ".yml")
_LOGIN = {"email", "api_key", "token", "password"}
"""What belongs in no file that is read by others."""


def file_of_accounts(setting: Any) -> Path | None:
    """Return the file that the setting `accounts` names; None for a list of names.

    A relative path begins in the folder of `.dlt/`.
    """
    if not isinstance(setting, str) or not setting.strip().endswith(_SUFFIXES):
        return None
    return project_directory() / setting.strip()


class AccountsFile(NamedTuple):
    """What stands in a file of accounts."""

    settings: Mapping[str, Mapping[str, Any]]
    """Of each account that can be used."""
    faults: Mapping[str, SettingError]
    """Of each that cannot, what is wrong."""
    names: list[str]
    """Of all of them, in their order."""


def read_accounts(path: Path) -> AccountsFile:
    """Return what stands in the file, and let dlt find the settings in `sources.<account>`.

    Raises:
        SettingError: the file cannot be read, or has no accounts.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise SettingError(f"The setting `accounts` names {path}: {error.strerror}.") from None
    found = _read(path, changed)
    providers = Container()[PluggableRunContext].providers
    sections = {"sources": {name: dict(values) for name, values in found.settings.items()}}
    providers[_PROVIDER] = CustomLoaderDocProvider(_PROVIDER, lambda: sections, False, [str(path)])
    return found


def forget_accounts() -> None:
    """Let dlt find nothing more of the file that was read, if one was."""
    found = Container()[PluggableRunContext].providers.providers
    found[:] = [one for one in found if one.name != _PROVIDER]


@lru_cache(4)
def _read(path: Path, _: int) -> AccountsFile:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if isinstance(found, list):
        if repeated := sorted({str(name) for name in found if found.count(name) > 1}):
            raise SettingError(f"{path} names {', '.join(repeated)} more than once.")
        found = {str(name): None for name in found}
    if not isinstance(found, dict) or not found:
        raise SettingError(f"{path} must have the accounts as a mapping from names to settings, such as `acme: {{}}`.")
    settings: dict[str, Mapping[str, Any]] = {}
    faults: dict[str, SettingError] = {}
    for name, values in found.items():
        if fault := _fault(path, name, values):
            faults[str(name)] = SettingError(fault)
        else:
            settings[name] = {str(key): value for key, value in (values or {}).items()}
    return AccountsFile(settings, faults, list(map(str, found)))


def _fault(path: Path, name: Any, values: Any) -> str | None:
    """Return what is wrong with an account of the file."""
    if not isinstance(name, str):
        return f"{path}: the name {name!r} is not text for YAML. Write it in quotes."
    if values is not None and not isinstance(values, dict):
        return f"{path}: {name} must have settings, such as `base_url: https://...`, not {values!r}."
    if secrets := sorted(_LOGIN & {str(one) for one in values or {}}):
        variables = ", ".join(f"SOURCES__{name}__{one}".upper() for one in secrets)
        return (
            f"{path}: {name} has {' and '.join(secrets)} in it. A login belongs in .dlt/secrets.toml, under "
            f"[sources.{name}], or in the environment: {variables}."
        )
    return None


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Refuses a name that stands twice, of which YAML would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == _MERGE:  # other settings, which those beside it may go before
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, list | dict):
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is no name", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found
