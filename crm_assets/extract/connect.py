"""From an account to a connection: the login is read here, by the run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crm_assets.account import Account
from crm_assets.address import missing_address
from crm_assets.apis.references import Reference
from crm_assets.errors import SettingError
from crm_assets.extract.connection import CONCURRENCY, Connection
from crm_assets.extract.rate_limit import RateLimit
from crm_assets.settings import SandboxSettings, explain_reference, find_reference


@contextmanager
def connect(account: Account, **login: Any) -> Iterator[Connection]:
    """Yield the connection of `account`. The sandbox is the one that is running, or else one that ends with the block.

    Args:
        account: whose CRM it is.
        login: values of secrets by name, such as `email` and `api_key`, that go before the settings; None for none.

    Raises:
        SettingError: the address, or what the API's configuration refers to, is not set.
    """
    if account.crm.base_url is None:
        raise SettingError(missing_address(account.api.client.get("base_url"), account.name))
    if not account.is_sandbox:
        given = {name: value for name, value in login.items() if value is not None}
        yield _connection(account, account.crm.base_url, _values(account, given))
        return
    # Only here: whoever has a real CRM never loads the sandbox.
    from crm_assets.sandbox.running import sandbox_url
    from crm_assets.sandbox.server import API_KEY, EMAIL

    with sandbox_url(SandboxSettings.read(account.name).port) as url:
        yield _connection(account, url, _values(account, {"email": EMAIL, "api_key": API_KEY}))


def _values(account: Account, given: Mapping[str, Any]) -> dict[Reference, Any]:
    """Return what the API's configuration refers to."""
    found = {
        one: given[one.name] if one.is_secret and one.name in given else find_reference(account.name, one)
        for one in account.api.references
    }
    if missing := [one for one, value in found.items() if one.is_missing(value)]:
        raise SettingError("\n".join(explain_reference(account.name, one, "is not set") for one in missing))
    return {one: one.or_default(value) for one, value in found.items()}


def _connection(account: Account, base_url: str, values: Mapping[Reference, Any]) -> Connection:
    crm, client = account.crm, account.api.client
    # What the API bears is no matter of the sandbox: nobody has to be spared on loopback.
    per_second = crm.requests_per_second or (None if account.is_sandbox else client.get("requests_per_second"))
    return Connection(
        base_url,
        values,
        client.get("auth"),
        client.get("headers", {}),
        account.api.login_references,
        page_size=crm.page_size,
        answer_seconds=crm.answer_seconds,
        answer_bytes=crm.answer_bytes,
        listing_seconds=crm.listing_seconds,
        concurrency=crm.concurrency or client.get("concurrency", CONCURRENCY),
        rate_limit=RateLimit(per_second),
        section=account.section,
    )
