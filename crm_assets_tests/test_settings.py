"""Settings: found where dlt finds them, refused by name."""

from pathlib import Path
from typing import Any

import pytest

from crm_assets.account import Account, resolve_account
from crm_assets.accounts import configured_accounts
from crm_assets.errors import ApiConfigError, SettingError
from crm_assets.extract.connect import connect
from crm_assets.project import ROOT, exposed_secrets
from crm_assets.settings import (
    AccountSettings,
    AlertSettings,
    AutomationSettings,
    CheckSettings,
    Settings,
    SyncSettings,
    WarehouseSettings,
)
from crm_assets.unknown_settings import unknown_settings

REAL = "https://api.example.com"


def test_as_shipped_the_crm_is_the_sandbox_and_its_tables_keep_out_of_a_real_crms_dataset() -> None:
    assert resolve_account().is_sandbox
    assert resolve_account().dataset == "crm_sandbox"


def test_a_real_crms_tables_go_to_the_dataset_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_account(base_url=REAL).dataset == "crm"
    monkeypatch.setenv("WAREHOUSE__DATASET", "sales")
    assert resolve_account(base_url=REAL).dataset == "sales"
    assert resolve_account().dataset == "sales_sandbox"


def test_an_account_has_a_dataset_of_its_own_unless_it_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_account("acme", base_url=REAL).dataset == "crm_acme"
    monkeypatch.setenv("WAREHOUSE__DATASET", "sales")
    assert resolve_account("acme", base_url=REAL).dataset == "sales_acme"
    monkeypatch.setenv("SOURCES__ACME__WAREHOUSE__DATASET", "their_own")
    assert resolve_account("acme", base_url=REAL).dataset == "their_own"
    assert resolve_account("acme", base_url=REAL, dataset="mine").dataset == "mine"


def test_what_is_handed_in_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCES__CRM__BASE_URL", "https://crm.example.com/")
    assert resolve_account().crm.base_url == "https://crm.example.com"
    assert resolve_account(base_url="sandbox").is_sandbox


def test_the_more_special_value_goes_before_the_more_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def deletes(account: Account) -> tuple[str, str]:
        return account.sync["deals"].deletes, account.sync["notes"].deletes

    monkeypatch.setenv("SYNC__DELETES", "keep")
    assert deletes(resolve_account("acme")) == ("keep", "keep")
    monkeypatch.setenv("SYNC__DEALS__DELETES", "remove")
    assert deletes(resolve_account("acme")) == ("remove", "keep")
    monkeypatch.setenv("SOURCES__ACME__SYNC__DELETES", "flag")
    assert deletes(resolve_account("acme")) == ("flag", "flag")
    monkeypatch.setenv("SOURCES__ACME__SYNC__DEALS__DELETES", "remove")
    assert deletes(resolve_account("acme")) == ("remove", "flag")
    assert deletes(resolve_account("acme", sync={"deletes": "keep", "deals": {"deletes": "flag"}})) == ("flag", "keep")
    assert deletes(resolve_account("globex")) == ("remove", "keep")


def test_resources_and_cadences_narrow_what_an_account_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ACME__RESOURCES", "deals, contacts")
    account = resolve_account("acme", cadences={"deals": "daily"})
    assert [(one.name, one.cadence) for one in account.resources] == [("contacts", "frequent"), ("deals", "daily")]
    with pytest.raises(ApiConfigError, match=r"Unknown resource: leads\."):
        resolve_account("acme", resources=["leads"])
    with pytest.raises(ApiConfigError, match=r"Unknown resource: tickets\."):
        resolve_account("acme", cadences={"tickets": "daily"})
    with pytest.raises(SettingError, match=r"sync: unknown resource leads\. Known: contacts, deals"):
        resolve_account("acme", sync={"leads": {"deletes": "keep"}})
    with pytest.raises(SettingError, match=r"\.delets is not a setting\. Known: deletes"):
        resolve_account("acme", sync={"delets": "keep"})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ACCOUNTS": "crm, crm"}, "must name each account once"),
        ({"ACCOUNTS": "Acme"}, "'Acme' is not a valid account name"),
        (
            {"ACCOUNTS": "crm, acme", "SOURCES__ACME__WAREHOUSE__DATASET": "crm", "SOURCES__ACME__BASE_URL": "sandbox"},
            "The accounts crm and acme write into one dataset, crm_sandbox",
        ),
    ],
)
def test_accounts_that_would_overwrite_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=words):
        configured_accounts()


def test_a_list_of_accounts_makes_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNTS", "crm, acme")
    assert [account.name for account in configured_accounts()] == ["crm", "acme"]
    assert [account.name for account in configured_accounts("acme")] == ["acme"]
    with pytest.raises(SettingError, match=r"There is no account 'globex'\. Configured: crm, acme"):
        configured_accounts("globex")


def test_the_files_of_a_mounted_account_go_to_dagster_home_or_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/somewhere")
    assert resolve_account("acme").data_dir == Path("/somewhere/crm_assets")
    monkeypatch.delenv("DAGSTER_HOME")
    assert resolve_account("acme").data_dir == Path.home() / ".crm_assets"
    monkeypatch.setenv("SOURCES__ACME__DATA_DIR", "/elsewhere")
    assert resolve_account("acme").data_dir == Path("/elsewhere")
    assert resolve_account("acme", data_dir="/here").data_dir == Path("/here")


def test_a_key_of_digits_stays_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__EMAIL", "me@example.com")
    monkeypatch.setenv("SOURCES__CRM__API_KEY", "0012")
    with connect(resolve_account(base_url="https://api.example.com")) as connection:
        assert connection.resolve("{{ dlt.secrets.api_key }}") == "0012"


def test_what_is_set_goes_before_the_default_of_a_reference_and_stays_as_dlt_gives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days = '{{ dlt.config.get("days", 30) }}'
    api = {"client": {"base_url": REAL}, "resources": [{"name": "notes", "endpoint": {"params": {"days": days}}}]}
    with connect(resolve_account("acme", api=api)) as connection:
        assert connection.resolve({"days": days, "text": f"{days} days"}) == {"days": 30, "text": "30 days"}
    monkeypatch.setenv("DAYS", "7")
    with connect(resolve_account("acme", api=api)) as connection:
        assert connection.resolve(days) == "7"
    monkeypatch.setenv("SOURCES__ACME__DAYS", "0")
    with connect(resolve_account("acme", api=api)) as connection:
        assert connection.resolve(days) == "0"


def test_limits_are_those_of_the_settings_else_of_the_api_and_the_sandbox_needs_none_of_the_apis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = {"client": {"requests_per_second": 2, "concurrency": 3}, "resources": ["notes"]}

    def limits(base_url: str, api: Any) -> tuple[float | None, int]:
        with connect(resolve_account("acme", api=api, base_url=base_url)) as connection:
            return connection.rate_limit.per_second, connection.concurrency

    assert limits(REAL, {"client": {}, "resources": ["notes"]}) == (None, 8)
    assert limits(REAL, api) == (2, 3)
    assert limits("http://127.0.0.1:8000", api) == (2, 3)
    assert limits("sandbox", api) == (None, 3)
    monkeypatch.setenv("SOURCES__ACME__REQUESTS_PER_SECOND", "4.5")
    monkeypatch.setenv("SOURCES__ACME__CONCURRENCY", "5")
    assert limits(REAL, api) == (4.5, 5)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SOURCES__CRM__BASE_URL", "api.example.com", "must be an address"),
        ("SOURCES__CRM__BASE_URL", "ftp://api.example.com", "must be an address"),
        ("SOURCES__CRM__BASE_URL", "https://me:pass@api.example.com", "must not contain a login"),
        ("SOURCES__CRM__BASE_URL", "https://api.example.com/a b", "must not contain spaces"),
        ("SOURCES__CRM__BASE_URL", "https://api.example.com:crm", "is not an address: Port could not be cast"),
        ("SOURCES__CRM__BASE_URL", "https://api.example.com:99999", "is not an address: Port out of range"),
        ("SOURCES__CRM__BASE_URL", "https://api..example.com", "'api..example.com' is not a host name"),
        ("SOURCES__CRM__BASE_URL", "https://-api.example.com", "'-api.example.com' is not a host name"),
        ("SOURCES__CRM__BASE_URL", "https://[::1", "is not an address"),
        ("SOURCES__CRM__DATA_DIR", "s3://bucket/crm", "must be a folder, not an address"),
        ("SOURCES__CRM__PAGE_SIZE", "many", "valid integer"),
        ("SOURCES__CRM__PAGE_SIZE", "0", "greater than or equal to 1"),
        ("WAREHOUSE__MEMORY_LIMIT", "lots", "must be a size such as 512MB"),
        ("WAREHOUSE__LOCK_TIMEOUT", "-1", "greater than or equal to 0"),
        ("WAREHOUSE__DATASET", 'crm"; DROP', "must be a name of lower-case letters, digits and _"),
        ("SOURCES__CRM__WAREHOUSE__LOCK_TIMEOUT", "-1", "greater than or equal to 0"),
        ("SYNC__DEALS__DELETES", "never", "'flag', 'remove' or 'keep'"),
        ("AUTOMATION__TIMEZONE", "Mars", "is not a time zone"),
    ],
)
def test_a_malformed_setting_is_named_with_its_file_and_variable_but_not_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError) as error:
        resolve_account()
    message = str(error.value)
    name = variable.lower().replace("__", ".")
    assert message.startswith(f"{name} cannot be used: ")
    assert words in message
    assert ".dlt/config.toml" in message
    assert variable in message
    assert "me:pass" not in message


@pytest.mark.parametrize(
    "base_url", ["https://münchen.example", "http://[::1]:8000", "http://10.0.0.1", "https://a_b.example/x"]
)
def test_unusual_addresses_are_taken(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__ALLOW_HTTP", "true")
    assert resolve_account(base_url=base_url).crm.base_url == base_url


def test_missing_secrets_are_named_with_the_file_of_secrets() -> None:
    with pytest.raises(SettingError) as error:
        connect(resolve_account("acme", base_url=REAL)).__enter__()
    assert str(error.value).splitlines() == [
        f"sources.acme.{name} is not set. Set `{name}` under [sources.acme] in .dlt/secrets.toml, "
        f"or SOURCES__ACME__{name.upper()} in the environment."
        for name in ("email", "api_key")
    ]


def test_an_address_that_is_not_set_is_an_error_of_the_run() -> None:
    account = resolve_account("acme")
    with pytest.raises(SettingError, match=r"^sources\.acme\.base_url is not set\."):
        connect(account).__enter__()


def test_a_secret_is_not_in_the_representation_of_an_account_or_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__EMAIL", "me@example.com")
    monkeypatch.setenv("SOURCES__CRM__API_KEY", "very-secret")
    settings: Any = {"alerts": {"webhook_url": "https://hooks.example.com/very-secret"}}
    account = resolve_account(base_url="https://api.example.com", **settings)
    with connect(account) as connection:
        shown = f"{connection!r}{account!r}"
        assert "very-secret" not in shown
        assert "me@example.com" not in shown


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("WAREHOUSE__LOCK_TIMOUT", "warehouse.lock_timeout"),
        ("SYNC__DEALS__HISTROY", "sync.deals.history"),
        ("SOURCES__CRM__SYNC__DELETE", "sources.crm.sync.deletes"),
        ("SOURCES__CRM__COLOUR", None),
    ],
)
def test_a_mistyped_setting_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, near: str | None
) -> None:
    account = resolve_account()
    monkeypatch.setenv(variable, "x")
    what = f". Did you mean {near}?" if near else ", and is ignored."
    name = variable.lower().replace("__", ".")
    assert unknown_settings(account) == [f"{name} ({variable}) is not a setting{what}"]


@pytest.mark.parametrize(
    "variable",
    [
        "ALERTS__PAGER",
        "SYNC__DEALS__HISTORY",
        "SOURCES__CRM__CADENCES__DEALS",
        "SOURCES__OTHER__COLOUR",
        "DAGSTER_HOME",
    ],
)
def test_a_setting_that_is_known_or_somebody_elses_is_not_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    account = resolve_account()
    monkeypatch.setenv(variable, "x")
    assert unknown_settings(account) == []


@pytest.mark.parametrize(
    ("section", "page"),
    [
        (AccountSettings, "docs/accounts.md"),
        (CheckSettings, "docs/checks.md"),
        (WarehouseSettings, "README.md"),
        (SyncSettings, "docs/reliability.md"),
        (AutomationSettings, "docs/automation.md"),
        (AlertSettings, "docs/automation.md"),
    ],
)
def test_every_setting_is_described(section: type[Settings], page: str) -> None:
    text = (ROOT / page).read_text()
    where = "sources.crm" if section.section == "sources" else section.section
    for name in section.model_fields:
        assert f"`{where}.{name}`" in text
        assert f"`{where}__{name}`".upper().replace(".", "__") in text


def test_a_mail_server_of_its_own_is_refused_with_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS__SMTP_HOST", "mail.example.com")
    with pytest.raises(SettingError, match=r"^alerts\.smtp_host .* alerts\.urls: mailtos://user:password@host\?to="):
        AlertSettings.read("crm")


def test_addresses_of_alerts_are_masked_and_keep_their_own_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["mailto://s3cr3t?to=a@example.com,b@example.com", "https://example.com/s3cr3t", "ntfy://s3cr3t"]
    monkeypatch.setenv("ALERTS__URLS", " {}, {},{} ".format(*addresses))
    settings = AlertSettings.read("crm")
    assert [url.get_secret_value() for url in settings.urls] == addresses
    assert "s3cr3t" not in f"{settings!r}{settings.model_dump_json()}"
    assert AlertSettings.read("crm", {"urls": addresses}) == settings


def test_a_webhook_is_masked_and_must_be_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", "https://hooks.example.com/s3cr3t")
    assert "s3cr3t" not in repr(AlertSettings.read("crm"))
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", "s3cr3t")
    with pytest.raises(
        SettingError, match=r"^alerts\.webhook_url cannot be used: must be an address .*secrets\.toml"
    ) as e:
        AlertSettings.read("crm")
    assert "s3cr3t" not in str(e.value)


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, True), (0o604, True)])
def test_secrets_that_others_can_read_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, exposed: bool
) -> None:
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))
    assert exposed_secrets() is None
    file = tmp_path / ".dlt" / "secrets.toml"
    file.parent.mkdir()
    file.touch()
    file.chmod(mode)
    assert exposed_secrets() == (
        f"Warning: others can read {file}. Keep them out: chmod 600 {file}" if exposed else None
    )


@pytest.mark.parametrize(
    ("base_url", "allowed", "fine"),
    [
        ("http://crm.example.com", "false", False),
        ("http://crm.example.com", "true", True),
        ("https://crm.example.com", "false", True),
        ("http://127.0.0.1:8000", "false", True),
        ("http://127.0.0.1.example.com", "false", False),
    ],
)
def test_a_login_goes_unencrypted_to_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, base_url: str, allowed: str, fine: bool
) -> None:
    monkeypatch.setenv("SOURCES__CRM__BASE_URL", base_url)
    monkeypatch.setenv("SOURCES__CRM__ALLOW_HTTP", allowed)
    if fine:
        assert resolve_account().crm.base_url == base_url
    else:
        with pytest.raises(SettingError, match=r"^sources\.crm\.base_url cannot be used: http:// would send the login"):
            resolve_account()
