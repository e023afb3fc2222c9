"""A CRM's REST API in your warehouse, as Dagster assets that dlt loads.

`CrmComponent` mounts an account by YAML; `build_defs(resolve_account("acme"))` does the same in Python.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Arrow reads it when it is imported. Its own allocator keeps what each thread of a fetch gave back.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

if TYPE_CHECKING:
    from crm_assets.account import Account, resolve_account
    from crm_assets.component import CrmComponent
    from crm_assets.extract.source import crm_source
    from crm_assets.orchestration import build_defs

__all__ = ["Account", "CrmComponent", "build_defs", "crm_source", "resolve_account"]

_MODULES = {
    "Account": "account",
    "CrmComponent": "component",
    "build_defs": "orchestration",
    "crm_source": "extract.source",
    "resolve_account": "account",
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: most of the package, and its command line, do without Dagster.
    if name in _MODULES:
        return getattr(import_module(f"crm_assets.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
