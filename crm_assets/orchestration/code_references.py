"""Where the code of an asset is: its model, and its row in the configuration of the API."""

import re
import sys
import warnings
from functools import cache
from pathlib import Path

import dagster as dg

from crm_assets.account import Account
from crm_assets.apis.api import Resource


def code_references(account: Account, resource: Resource) -> dg.CodeReferencesMetadataValue:
    """Return links to the model of `resource`, and to its row in the configuration of the API, if they are in files."""
    model = sys.modules[resource.model.__module__].__file__ if resource.model else None
    row = re.compile(rf"""["']?name["']?: *["']?{resource.name}\b""")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        found = [dg.LocalFileCodeReference(file_path=model, label="model")] if model else []
        found += [
            dg.LocalFileCodeReference(file_path=str(account.api.file), line_number=number, label="endpoint")
            for number, line in enumerate(_lines(account.api.file), start=1)
            if row.search(line)
        ]
        return dg.CodeReferencesMetadataValue(code_references=[*found])


@cache
def _lines(file: Path | None) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file else []
