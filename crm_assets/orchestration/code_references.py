"""Where the code of an asset is: its model, and its row in the configuration of the API."""

import sys
import warnings
from functools import cache
from pathlib import Path

import dagster as dg

from crm_assets import apis
from crm_assets.account import Account
from crm_assets.apis.api import Resource


def code_references(account: Account, resource: Resource) -> dg.CodeReferencesMetadataValue:
    """Return links to the model of `resource`, and to its row if the API is one that comes with the project."""
    model = sys.modules[resource.model.__module__].__file__ if resource.model else None
    api = Path(apis.__path__[0]) / f"{account.crm.api}.py"
    row = (f'"name": "{resource.name}"', f'"path": "{resource.endpoint["path"]}"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        found = [dg.LocalFileCodeReference(file_path=model, label="model")] if model else []
        found += [
            dg.LocalFileCodeReference(file_path=str(api), line_number=number, label="endpoint")
            for number, line in enumerate(_lines(api), start=1)
            if all(part in line for part in row)
        ]
        return dg.CodeReferencesMetadataValue(code_references=[*found])


@cache
def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
