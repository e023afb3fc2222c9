"""The address of a CRM: a part of its host is a setting, and the login goes to no other host."""

from pathlib import Path
from typing import Any

import pytest

from crm_assets.account import resolve_account
from crm_assets.errors import SettingError
from crm_assets.extract.connect import connect
from crm_assets.unknown_settings import known_settings, unknown_settings

DOMAIN = 'https://{{ dlt.config["domain"] }}.crm.example.com'


def api(base_url: str = DOMAIN) -> Any:
    return {"client": {"base_url": base_url}, "resources": ["notes"]}


def address(base_url: str = DOMAIN, **given: Any) -> str | None:
    return resolve_account("acme", api=api(base_url), **given).crm.base_url


@pytest.mark.parametrize("domain", ["acme", "ACME-2", "0815", "a", "x" * 63])
def test_a_part_of_the_host_is_a_setting_of_the_account(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", domain)
    assert address() == f"https://{domain}.crm.example.com"


@pytest.mark.parametrize(
    "domain",
    [
        "evil.com/",
        "a.b",
        "x@y",
        "acme:8080",
        "",
        " ",
        "acme ",
        "-a",
        "a-",
        "a_b",
        "x" * 64,
        "münchen",
        "a\n",
        "a#",
        "a\\b",
    ],
)
def test_what_would_be_another_host_is_refused(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", domain)
    with pytest.raises(SettingError) as error:
        connect(resolve_account("acme", api=api())).__enter__()
    assert str(error.value) == (
        "sources.acme.domain cannot be used: it must be the part <domain> of https://<domain>.crm.example.com alone "
        "(letters, digits and hyphens, at most 63, no hyphen at an end). Set `domain` under [sources.acme] in "
        ".dlt/config.toml, or SOURCES__ACME__DOMAIN in the environment."
    )


@pytest.mark.parametrize(
    "domain",
    [
        "acme.crm.example.com",
        "https://acme.crm.example.com/",
        "https://acme.crm.example.com:443/dev",
        "ACME.CRM.example.com",
    ],
)
def test_a_whole_address_in_the_place_of_a_part_is_answered_with_the_part(
    monkeypatch: pytest.MonkeyPatch, domain: str
) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", domain)
    with pytest.raises(
        SettingError, match=r"^sources\.acme\.domain cannot be used: .*\(`acme` is meant\)\. Set `domain`"
    ):
        address()


@pytest.mark.parametrize("domain", ["acme.crm.example.com.evil.com", "https://acme.evil.com/x.crm.example.com"])
def test_an_address_of_another_host_is_not_taken_for_a_slip(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", domain)
    with pytest.raises(SettingError) as error:
        address()
    assert "is meant" not in str(error.value)


def test_a_secret_part_of_the_host_is_not_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ACME__TENANT", "s3cr3t.example.com")
    with pytest.raises(SettingError, match=r"^sources\.acme\.tenant cannot be used: .*\.dlt/secrets\.toml") as error:
        address('https://{{ dlt.secrets["tenant"] }}.example.com')
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize(
    ("base_url", "value", "found"),
    [
        ("https://api-{{ env.PART }}.example.com/v2", "eu", "https://api-eu.example.com/v2"),
        ('https://{{ dlt.config.get("part", "eu") }}.example.com', None, "https://eu.example.com"),
        ("https://localhost:{{ env.PART }}", "8443", "https://localhost:8443"),
        ("https://api.example.com/{{ env.PART }}", "a.b/c", "https://api.example.com/a.b/c"),
        ("https://{{ env.PART }}/v2", "crm.example.com", "https://crm.example.com/v2"),
        ("{{ env.PART }}", "https://crm.example.com/", "https://crm.example.com"),
        ("{{ env.PART }}/v2", "https://crm.example.com", "https://crm.example.com/v2"),
    ],
)
def test_other_parts_of_an_address_are_free(
    monkeypatch: pytest.MonkeyPatch, base_url: str, value: str | None, found: str
) -> None:
    if value is not None:
        monkeypatch.setenv("PART", value)
    assert address(base_url) == found


@pytest.mark.parametrize("base_url", ["{{ env.PART }}://{{ env.B }}.example.com", "https://example.com:{{ env.PART }}"])
def test_a_scheme_or_a_port_is_no_way_to_another_host(monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    monkeypatch.setenv("B", "acme")
    monkeypatch.setenv("PART", "1@evil.com")
    with pytest.raises(
        SettingError, match=r"^PART cannot be used: .*\. Set it in the environment: the API of \[sources"
    ):
        address(base_url)


def test_a_part_that_is_not_set_is_an_error_of_the_run_and_named() -> None:
    account = resolve_account("acme", api=api())
    assert account.crm.base_url is None
    with pytest.raises(SettingError) as error:
        connect(account).__enter__()
    assert str(error.value) == (
        "sources.acme.domain is not set. Set `domain` under [sources.acme] in .dlt/config.toml, or "
        "SOURCES__ACME__DOMAIN in the environment; or set `base_url`, the whole address."
    )


def test_the_setting_base_url_replaces_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", "acme")
    assert address(base_url="https://proxy.example.com/acme") == "https://proxy.example.com/acme"


def test_the_sandbox_is_refused_beside_a_setting_that_says_which_crm_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_account("acme", api=api(), base_url="sandbox").is_sandbox
    monkeypatch.setenv("SOURCES__ACME__BASE_URL", "sandbox")
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", "acme")
    with pytest.raises(SettingError) as error:
        address()
    assert str(error.value) == (
        "sources.acme.base_url is `sandbox`, and sources.acme.domain is set (SOURCES__ACME__DOMAIN in the "
        "environment): the sandbox would be loaded in place of the CRM that is meant. Remove one of the two."
    )
    assert resolve_account("acme", api="v1").is_sandbox


def test_a_default_of_the_api_does_not_stand_in_the_way_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ACME__BASE_URL", "sandbox")
    assert address('https://{{ dlt.config.get("region", "eu") }}.example.com') == "sandbox"


def test_what_an_address_refers_to_is_a_known_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCES__ACME__DOMAIN", "acme")
    account = resolve_account("acme", api=api(), data_dir=tmp_path)
    assert unknown_settings(account) == []
    assert "sources.acme.domain" in known_settings(account)
    monkeypatch.setenv("SOURCES__ACME__DOMAN", "acme")
    assert unknown_settings(account) == [
        "sources.acme.doman (SOURCES__ACME__DOMAN) is not a setting. Did you mean sources.acme.domain?"
    ]
