"""What `crm-assets doctor` says of settings, files, CRM, warehouse and alerts."""

import json
from pathlib import Path

import pytest

from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, Command, holding
from crm_assets_tests.webhook import webhook


def found(crm_assets: Command, *options: str, **changes: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and outcome and words of each thing that was looked at."""
    done = crm_assets("doctor", "--json", *options, **changes)
    (account,) = json.loads(done.stdout)["accounts"]
    return done.returncode, {one["what"]: (one["outcome"], one["found"]) for one in account["examined"]}


def test_what_is_set_is_shown_with_its_origin_and_no_secret(crm_assets: Command, sandbox: Sandbox) -> None:
    code, examined = found(crm_assets, SYNC__DEALS__HISTORY="true")
    assert code == 0
    assert examined["sources.crm.base_url"][1] == f"{sandbox.base_url}, from SOURCES__CRM__BASE_URL in the environment"
    assert examined["sources.crm.api_key"][1] == "***, from SOURCES__CRM__API_KEY in the environment"
    assert examined["warehouse.dataset"][1] == "crm, from .dlt/config.toml"
    assert examined["sync.deals.history"][1] == "true, from SYNC__DEALS__HISTORY in the environment"
    assert API_KEY not in crm_assets("doctor").stdout


def test_a_part_of_the_address_is_shown_among_the_settings(crm_assets: Command, tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text('client: {base_url: "https://{{ dlt.config.domain }}.example.com"}\nresources: [notes]\n')
    _, examined = found(crm_assets, SOURCES__CRM__API=str(file), SOURCES__CRM__DOMAIN="acme")
    assert examined["sources.crm.domain"] == ("passed", "acme, from SOURCES__CRM__DOMAIN in the environment")


def test_what_a_load_needs_is_tried_and_nothing_is_loaded(
    crm_assets: Command, sandbox: Sandbox, tmp_path: Path
) -> None:
    _, examined = found(crm_assets)
    assert examined["CRM"][1].startswith("contacts answered with 100 records in ")
    assert "not there before the first load, 0 loaded tables in dataset crm" in examined["warehouse"][1]
    assert "GiB free" in examined["data folder"][1]
    assert examined["alerts"] == ("passed", "No channel is configured: nobody is told.")
    assert not (tmp_path / "data" / "warehouse.duckdb").exists()
    assert {outcome for outcome, _ in examined.values()} == {"passed"}


@pytest.mark.parametrize(
    ("changes", "code", "what", "words"),
    [
        ({"SOURCES__CRM__BASE_URL": "http://127.0.0.1:1"}, 4, "CRM", "Connection refused"),
        ({"SOURCES__CRM__API_KEY": "wrong"}, 3, "CRM", "HTTP 401"),
        ({"WAREHOUSE__DESTINATION": "postgres"}, 2, "warehouse", "WAREHOUSE__DESTINATION"),
        ({"ALERTS__URLS": "nonsense://x"}, 2, "alerts", "alerts.urls cannot be used"),
        ({"AUTOMATION__ENABLED": "true"}, 0, "automation", "Dagster's daemon does not run"),
    ],
)
def test_what_is_wrong_is_named_and_decides_the_exit_code(
    crm_assets: Command, changes: dict[str, str], code: int, what: str, words: str
) -> None:
    ended, examined = found(crm_assets, **changes)
    outcome, said = examined[what]
    assert (ended, outcome) == (code, "ERROR" if code else "WARN")
    assert words in said


def test_a_warehouse_that_is_open_elsewhere_is_a_warning_that_names_the_process(
    crm_assets: Command, tmp_path: Path
) -> None:
    crm_assets("sync", "milestone")
    with holding(tmp_path / "data" / "warehouse.duckdb") as pid:
        code, examined = found(crm_assets)
    assert (code, examined["warehouse"][0]) == (0, "WARN")
    assert f"process {pid}" in examined["warehouse"][1]


def test_a_test_message_is_sent_only_when_it_is_asked_for(crm_assets: Command) -> None:
    with webhook() as channel:
        _, examined = found(crm_assets, ALERTS__WEBHOOK_URL=channel.url)
        assert examined["alerts"] == ("passed", "webhook, not tried: --send-alert sends a test message")
        assert channel.texts == []
        _, examined = found(crm_assets, "--send-alert", ALERTS__WEBHOOK_URL=channel.url)
        assert examined["alerts"] == ("passed", "webhook: the test message was delivered")
        assert "Test of the alerts of crm" in channel.texts[0]
    code, examined = found(crm_assets, "--send-alert", ALERTS__WEBHOOK_URL=channel.url)
    assert (code, examined["alerts"][0]) == (4, "ERROR")


def test_no_address_of_an_alert_channel_is_shown(crm_assets: Command) -> None:
    secrets = {"ALERTS__WEBHOOK_URL": "https://hooks.example.com/s3cr3t", "ALERTS__URLS": "json://127.0.0.1/s3cr3t"}
    done = crm_assets("doctor", **secrets)
    assert "alerts.webhook_url  " in done.stdout
    assert "s3cr3t" not in done.stdout + done.stderr


def test_quiet_says_nothing_when_all_is_well(crm_assets: Command) -> None:
    done = crm_assets("doctor", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
