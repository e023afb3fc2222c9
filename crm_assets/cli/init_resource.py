"""`crm-assets init-resource`: a row and a model for a resource that nobody has described yet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crm_assets.cli.common import AccountName, accounts_of, explained, out
from crm_assets.errors import ApiConfigError, SettingError

if TYPE_CHECKING:
    from crm_assets.account import Account
    from crm_assets.extract.discovery import Discovery


def init_resource(
    name: Annotated[str, typer.Argument(help="Name of the new resource, and of its table.")],
    path: Annotated[str, typer.Option(help="Where the API lists it, such as /v1/products.")],
    account: AccountName = None,
) -> None:
    """Request a page of a new resource, show what it holds, and write its row and a model, ready to edit."""
    with explained():
        from crm_assets.cli.terminal import print_fields
        from crm_assets.extract.connect import connect
        from crm_assets.extract.discovery import discover

        [one, *others] = accounts_of(account)
        if others:
            raise SettingError("Which account? Name one with --account.")
        file = _file(one, name)
        with connect(one) as connection:
            found = discover(name, path, connection)
        print_fields(out, found.records, found.key)
        model = _write(one, name, path, found, file)
        out.print(
            f"Wrote {model} and the row of {name} in {file}. Edit both, then: crm-assets sync {name}", markup=False
        )


def _file(account: "Account", name: str) -> Path:
    """Return the file of the account's API.

    Raises:
        ApiConfigError: the API has the resource already, or is in no file that is the user's.
    """
    if name in [one.name for one in account.api.resources]:
        raise ApiConfigError(f"The API of {account.name} has a resource {name} already.")
    if account.api.file is None or "site-packages" in account.api.file.parts:
        raise ApiConfigError(
            f"The API of {account.name} is in no file of yours. Copy {account.api.file or 'it'} to one, name that in "
            f"{account.section}.api, and run again."
        )
    return account.api.file


def _write(account: "Account", name: str, path: str, found: "Discovery", file: Path) -> Path:
    """Write the model beside the configuration, then the row; return the model's file."""
    from crm_assets.apis.api import load_api
    from crm_assets.apis.drafts import add_row, class_name, model_source

    model = file.with_name(f"{name}_model.py")
    if model.exists():
        raise ApiConfigError(f"{model} exists already. Remove or rename it.")
    before = file.read_text(encoding="utf-8")
    endpoint: dict[str, Any] = {"path": path}
    if found.selector:
        endpoint["data_selector"] = found.selector
    if found.paginator:
        endpoint["paginator"] = dict(found.paginator)
    row: dict[str, Any] = {"name": name, "model": f"{model.name}:{class_name(name)}"}
    if found.key:
        row |= {"primary_key": found.key[0], "write_disposition": "merge"}
    model.write_text(model_source(class_name(name), found.records, found.key), encoding="utf-8")
    try:
        add_row(file, {**row, "endpoint": endpoint})
        load_api(str(file), file.parent)
    except ApiConfigError:
        file.write_text(before, encoding="utf-8")
        model.unlink()
        raise
    return model
