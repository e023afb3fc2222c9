"""What a record is: one Pydantic model per resource, the one source of truth for its table."""

from importlib import import_module
from pkgutil import iter_modules

from crm_assets.models.record import MODELS

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["MODELS"]
