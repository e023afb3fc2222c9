"""Settings: found where dlt finds them, refused by name."""

from pathlib import Path

import pytest

from crm_assets.errors import SettingError
from crm_assets.orchestration.resources import CrmApi, Warehouse
from crm_assets.project import ROOT, exposed_secrets
from crm_assets.settings import (
    AlertSettings,
    AutomationSettings,
    CrmSettings,
    Settings,
    SyncSettings,
    WarehouseSettings,
)


def test_as_shipped_the_crm_is_the_sandbox_and_its_tables_keep_out_of_a_real_crms_dataset() -> None:
    assert CrmSettings.read().is_sandbox
    assert Warehouse(crm_api=CrmApi()).dataset_name() == "crm_sandbox"


def test_a_real_crms_tables_go_to_the_dataset_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Warehouse(crm_api=CrmApi(base_url="https://api.example.com")).dataset_name() == "crm"
    monkeypatch.setenv("WAREHOUSE__DATASET", "sales")
    assert Warehouse(crm_api=CrmApi(base_url="https://api.example.com")).dataset_name() == "sales"
    assert Warehouse(crm_api=CrmApi()).dataset_name() == "sales_sandbox"


def test_the_environment_goes_before_the_file_and_a_run_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__BASE_URL", "https://crm.example.com/")
    assert CrmSettings.read().base_url == "https://crm.example.com"
    assert CrmApi(base_url="sandbox").settings().is_sandbox


def test_a_key_of_digits_stays_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__EMAIL", "me@example.com")
    monkeypatch.setenv("SOURCES__CRM__API_KEY", "0012")
    assert CrmSettings.read().login() == ("me@example.com", "0012")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SOURCES__CRM__BASE_URL", "api.example.com", "must be an address"),
        ("SOURCES__CRM__BASE_URL", "ftp://api.example.com", "must be an address"),
        ("SOURCES__CRM__BASE_URL", "https://me:pass@api.example.com", "must not contain a login"),
        ("SOURCES__CRM__PAGE_SIZE", "many", "valid integer"),
        ("SOURCES__CRM__PAGE_SIZE", "0", "greater than or equal to 1"),
        ("SOURCES__CRM__API", "v9", "'v1'"),
        ("WAREHOUSE__MEMORY_LIMIT", "lots", "match pattern"),
        ("WAREHOUSE__LOCK_TIMEOUT", "-1", "greater than or equal to 0"),
        ("WAREHOUSE__DATASET", 'crm"; DROP', "match pattern"),
    ],
)
def test_a_malformed_setting_is_named_with_its_file_and_variable_but_not_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    section = WarehouseSettings if variable.startswith("WAREHOUSE") else CrmSettings
    with pytest.raises(SettingError) as error:
        section.read()
    message = str(error.value)
    name = variable.lower().replace("__", ".")
    assert message.startswith(f"{name} cannot be used: ")
    assert words in message
    assert ".dlt/config.toml" in message
    assert variable in message
    assert "me:pass" not in message


def test_missing_secrets_are_named_with_the_file_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__BASE_URL", "https://api.example.com")
    with pytest.raises(SettingError) as error:
        CrmSettings.read().login()
    assert str(error.value).splitlines() == [
        f"sources.crm.{name} is not set. Set `{name}` under [sources.crm] in .dlt/secrets.toml, "
        f"or SOURCES__CRM__{name.upper()} in the environment."
        for name in ("email", "api_key")
    ]


def test_a_secret_is_not_in_the_representation_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__EMAIL", "me@example.com")
    monkeypatch.setenv("SOURCES__CRM__API_KEY", "very-secret")
    settings = CrmSettings.read()
    assert "very-secret" not in f"{settings!r}{settings.model_dump_json()}"
    assert "me@example.com" not in f"{settings!r}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("section", "page"),
    [
        (CrmSettings, "README.md"),
        (WarehouseSettings, "README.md"),
        (SyncSettings, "docs/reliability.md"),
        (AutomationSettings, "docs/automation.md"),
        (AlertSettings, "docs/automation.md"),
    ],
)
def test_every_setting_is_described(section: type[Settings], page: str) -> None:
    text = (ROOT / page).read_text()
    for name in section.model_fields:
        assert f"`{section.section}.{name}`" in text
        assert f"`{section.section}__{name}`".upper().replace(".", "__") in text


def test_a_mail_server_of_its_own_is_refused_with_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS__SMTP_HOST", "mail.example.com")
    with pytest.raises(SettingError, match=r"^alerts\.smtp_host .* alerts\.urls: mailtos://user:password@host\?to="):
        AlertSettings.read()


def test_addresses_of_alerts_are_masked_and_keep_their_own_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["mailto://s3cr3t?to=a@example.com,b@example.com", "https://example.com/s3cr3t", "ntfy://s3cr3t"]
    monkeypatch.setenv("ALERTS__URLS", " {}, {},{} ".format(*addresses))
    settings = AlertSettings.read()
    assert [url.get_secret_value() for url in settings.urls] == addresses
    assert "s3cr3t" not in f"{settings!r}{settings.model_dump_json()}"
    assert AlertSettings.read(urls=addresses) == settings


def test_a_webhook_is_masked_and_must_be_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", "https://hooks.example.com/s3cr3t")
    assert "s3cr3t" not in repr(AlertSettings.read())
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", "s3cr3t")
    with pytest.raises(
        SettingError, match=r"^alerts\.webhook_url cannot be used: must be an address .*secrets\.toml"
    ) as e:
        AlertSettings.read()
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
        assert CrmSettings.read().base_url == base_url
    else:
        with pytest.raises(SettingError, match=r"^sources\.crm\.base_url cannot be used: http:// would show the login"):
            CrmSettings.read()
