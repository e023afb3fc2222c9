"""Which settings an account has, and those that nobody reads, because their names are mistyped."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import dlt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from crm_assets.account import Account
from crm_assets.settings import (
    AccountSettings,
    AlertSettings,
    AutomationSettings,
    CheckSettings,
    SandboxSettings,
    Settings,
    SyncSettings,
    WarehouseSettings,
)

_GENERAL: tuple[type[Settings], ...] = (
    WarehouseSettings,
    SyncSettings,
    CheckSettings,
    SandboxSettings,
    AutomationSettings,
    AlertSettings,
)
_PER_RESOURCE = (SyncSettings, CheckSettings)


def unknown_settings(account: Account) -> list[str]:
    """Return one line for each setting that looks like one of ours and is none.

    A general section such as `alerts` may belong to somebody else's program too: of what stands there, only a name that
    is nearly one of ours is named.
    """
    known = known_settings(account).keys()
    found = [
        name for name in dict.fromkeys([*_in_environment(account), *_in_files(account)]) if not _is_known(name, known)
    ]
    lines = []
    for name in found:
        near = get_close_matches(name, known, n=1, cutoff=0.85)
        if near:
            lines.append(f"{_both(name)} is not a setting. Did you mean {near[0]}?")
        elif name.startswith(f"{account.section}."):
            lines.append(f"{_both(name)} is not a setting, and is ignored.")
    return lines


def known_settings(account: Account) -> dict[str, FieldInfo]:
    """Return every setting that `account` has, by its full name."""
    known = {f"{account.section}.{name}": field for name, field in AccountSettings.model_fields.items()}
    for reference in (*account.api.address_references, *account.api.references):
        if reference.source != "env":
            found = FieldInfo(annotation=SecretStr if reference.is_secret else str)
            known.setdefault(f"{account.section}.{reference.name}", found)
    for prefix in (f"{account.section}.", ""):
        for section in _GENERAL:
            names = [section.section]
            if section in _PER_RESOURCE:
                names += [f"{section.section}.{resource.name}" for resource in account.resources]
            for name in names:
                known |= {f"{prefix}{name}.{one}": field for one, field in section.model_fields.items()}
    return known


def _is_known(name: str, known: Collection[str]) -> bool:
    # `sources.crm.cadences.deals` is a part of the setting `sources.crm.cadences`.
    return name in known or name.rpartition(".")[0] in known


def _in_environment(account: Account) -> Iterator[str]:
    for variable in os.environ:
        name = variable.lower().replace("__", ".")
        if "__" in variable and variable.isupper() and name.startswith(tuple(f"{one}." for one in _sections(account))):
            yield name


def _in_files(account: Account) -> Iterator[str]:
    for section in _sections(account):
        for provider in (dlt.config, dlt.secrets):
            yield from _leaves(section, provider.get(section))


def _leaves(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif value is not None:
        yield name


def _sections(account: Account) -> Sequence[str]:
    return [*(section.section for section in _GENERAL), account.section]


def _both(name: str) -> str:
    return f"{name} ({name.upper().replace('.', '__')})"
