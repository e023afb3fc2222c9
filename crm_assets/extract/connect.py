"""From an account to a connection: the login is read here, by the run."""

from collections.abc import Iterator
from contextlib import contextmanager

from crm_assets.account import Account
from crm_assets.errors import SettingError
from crm_assets.extract.connection import Connection
from crm_assets.settings import AccountSettings, LoginSettings, SandboxSettings


@contextmanager
def connect(account: Account, email: str | None = None, api_key: str | None = None) -> Iterator[Connection]:
    """Yield the connection of `account`. The sandbox is the one that is running, or else one that ends with the block.

    Args:
        account: whose CRM it is.
        email: user name of the login, instead of the setting.
        api_key: password of the login, instead of the setting.

    Raises:
        SettingError: address, e-mail or API key is not set.
    """
    if account.crm.base_url is None:
        raise SettingError(AccountSettings.explain(account.name, "base_url", "missing", ""))
    if not account.is_sandbox:
        login = LoginSettings.read(account.name, {"email": email, "api_key": api_key})
        yield _connection(
            account, account.crm.base_url, login.email.get_secret_value(), login.api_key.get_secret_value()
        )
        return
    # Only here: whoever has a real CRM never loads the sandbox.
    from crm_assets.sandbox.running import sandbox_url
    from crm_assets.sandbox.server import API_KEY, EMAIL

    with sandbox_url(SandboxSettings.read(account.name).port) as url:
        yield _connection(account, url, EMAIL, API_KEY)


def _connection(account: Account, base_url: str, email: str, api_key: str) -> Connection:
    crm = account.crm
    return Connection(
        base_url,
        email,
        api_key,
        page_size=crm.page_size,
        answer_seconds=crm.answer_seconds,
        answer_bytes=crm.answer_bytes,
        listing_seconds=crm.listing_seconds,
        section=account.section,
    )
