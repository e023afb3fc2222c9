"""Dozens and hundreds of accounts: a file of them, slices of it, and each one's faults for itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from crm_assets.accounts import Unusable, configured_accounts, configured_names, slice_of
from crm_assets.accounts_file import forget_accounts
from crm_assets.errors import SettingError
from crm_assets.orchestration.accounts import definitions_of_accounts
from crm_assets.orchestration.keys import HOST_TAG
from crm_assets.orchestration.schedules import crons
from crm_assets.orchestration.spread_crons import spread_cron
from crm_assets.project import ROOT
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, EMAIL, Command, environment

Write = Callable[[str], Path]
NAMES = [f"a{number:04}" for number in range(1_000)]


@pytest.fixture(autouse=True)
def _forgets() -> Iterator[None]:
    """Leave nothing of a file for other tests of this process."""
    yield
    forget_accounts()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the file of accounts, which the settings name."""
    monkeypatch.setenv("ACCOUNTS", str(tmp_path / "accounts.yaml"))
    monkeypatch.setenv("DLT_LOCAL_DIR", str(tmp_path))

    def write(text: str) -> Path:
        file = tmp_path / "accounts.yaml"
        file.write_text(text)
        return file

    return write


def test_a_file_has_the_settings_of_each_account(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        """
        acme:
          base_url: https://acme.example.com
          resources: [contacts, deals]
          sync: {deals: {history: true}}
          warehouse: {dataset: acme}
        globex:
        """
    )
    monkeypatch.setenv("SOURCES__GLOBEX__BASE_URL", "https://globex.example.com")
    acme, globex = configured_accounts()
    assert (acme.name, acme.crm.base_url, acme.dataset) == ("acme", "https://acme.example.com", "acme")
    assert {name: one.history for name, one in acme.sync.items()} == {"contacts": False, "deals": True}
    assert (globex.crm.base_url, globex.dataset) == ("https://globex.example.com", "crm_globex")


def test_what_dlt_finds_elsewhere_goes_before_the_file_and_the_file_before_the_general_sections(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("acme: {page_size: 10, sync: {deletes: keep}}")
    monkeypatch.setenv("SYNC__DELETES", "remove")
    monkeypatch.setenv("SOURCES__ACME__PAGE_SIZE", "20")
    [acme] = configured_accounts()
    assert (acme.crm.page_size, acme.sync["deals"].deletes) == (20, "keep")


def test_a_file_that_changed_is_read_again(write: Write) -> None:
    write("acme: {page_size: 10}")
    assert configured_names() == ["acme"]
    os.utime(write("acme: {page_size: 20}\nglobex: {}"), ns=(1, 1))
    assert [(one.name, one.crm.page_size) for one in configured_accounts()] == [("acme", 20), ("globex", None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[acme, acme]", "names acme more than once"),
        ("acme: {[a]: 1}", "is no name"),
        ("acme: {}\nacme: {}", "is not valid YAML: 'acme' stands twice"),
        ("acme: [", "is not valid YAML"),
        ("", "must have the accounts as a mapping from names to settings"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(write: Write, text: str, said: str) -> None:
    file = write(text)
    with pytest.raises(SettingError) as caught:
        configured_accounts()
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_settings_that_several_accounts_share_are_written_once(write: Write) -> None:
    write("acme: &shared {page_size: 10, resources: [deals]}\nglobex: {<<: *shared, page_size: 20}")
    found = [(one.name, one.crm.page_size, len(one.resources)) for one in configured_accounts()]
    assert found == [("acme", 10, 1), ("globex", 20, 1)]


def test_a_file_that_is_named_no_more_counts_no_more(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("acme: {page_size: 10}")
    assert configured_accounts()[0].crm.page_size == 10
    monkeypatch.setenv("ACCOUNTS", "acme")
    assert configured_accounts()[0].crm.page_size is None


def test_a_file_that_is_not_there_is_named(write: Write) -> None:
    write("acme: {}").unlink()
    with pytest.raises(SettingError, match=r"`accounts` names \S+accounts\.yaml: No such file"):
        configured_accounts()


def test_what_is_wrong_with_one_account_is_its_own_and_says_where_to_mend_it(write: Write) -> None:
    file = write(
        """
        good: {base_url: "https://good.example.com"}
        mistyped: {page_size: many}
        nowhere: {api: apis/none.yaml}
        twin: {warehouse: {dataset: crm_good}}
        moody: {automation: {frequent_cron: sometimes}}
        b-a/d: {}
        prefixed: {key_prefix: good}
        slashed: {key_prefix: [x/y]}
        scalar: https://scalar.example.com
        told: {email: a@b.c}
        no: {}
        """
    )
    unusable: Unusable = {}
    assert [one.name for one in configured_accounts(unusable=unusable)] == ["good", "moody"]
    said = {name: str(error) for name, error in unusable.items()}
    broken = {"mistyped", "nowhere", "twin", "b-a/d", "prefixed", "slashed", "scalar", "told", "False"}
    assert said.keys() == broken
    assert "good and prefixed have one key_prefix, good" in said["prefixed"]
    assert "'x/y' is no part of a key" in said["slashed"]
    assert "told has email in it. A login belongs in .dlt/secrets.toml" in said["told"]
    assert "scalar must have settings, such as `base_url: https://...`, not 'https" in said["scalar"]
    assert "the name False is not text for YAML. Write it in quotes." in said["False"]
    assert "'b-a/d' is not a valid account name" in said["b-a/d"]
    assert f"Set `page_size` of mistyped in {file}" in said["mistyped"]
    assert "good and twin write into one dataset" in said["twin"]
    repository = definitions_of_accounts().get_repository_def()
    assert {"good_all", "good_daily", "mistyped_all", "nowhere_all", "twin_all", "moody_all"} <= set(
        repository.job_names
    )
    failed = repository.get_job("moody_all").execute_in_process(raise_on_error=False)
    assert not failed.success
    assert "'sometimes' is not a cron expression" in str(failed.all_events)


def test_the_only_account_says_what_is_wrong_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__CRM__PAGE_SIZE", "many")
    with pytest.raises(SettingError, match="page_size"):
        configured_accounts(unusable={})


def test_slices_have_each_account_once_and_one_more_account_moves_no_other() -> None:
    slices = [slice_of(NAMES, f"{number}/20") for number in range(1, 21)]
    assert sorted(name for one in slices for name in one) == NAMES
    assert all(30 <= len(one) <= 70 for one in slices)
    assert [slice_of([*NAMES, "zzz"], f"{number}/20") for number in range(1, 21)] == [
        [*one, *(["zzz"] if "zzz" in slice_of(["zzz"], f"{number}/20") else [])] for number, one in enumerate(slices, 1)
    ]


@pytest.mark.parametrize("part", ["0/20", "21/20", "3", "3/0", "a/b", "3/20/1"])
def test_a_slice_that_is_none_is_named(part: str) -> None:
    with pytest.raises(SettingError, match="is not one of so many, such as 3/20"):
        slice_of(NAMES, part)


def test_a_workspace_of_slices_is_written_and_dagster_loads_it(
    write: Write, tmp_path: Path, crm_assets: Command
) -> None:
    file = write(yaml.safe_dump({name: {"base_url": f"https://{name}.example.com"} for name in NAMES[:5]}))
    env = environment(ACCOUNTS=str(file), DLT_PROJECT_DIR=str(ROOT), DLT_LOCAL_DIR=str(tmp_path), HOME=str(tmp_path))
    workspace = tmp_path / "workspace.yaml"
    done = crm_assets("accounts", "workspace", "--slices", "2", "--output", str(workspace))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(workspace)]
    validated = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert validated.returncode == 0, validated.stderr
    for number in (1, 2):
        location = f"crm_assets_{number}_of_2"
        assert location in validated.stderr + validated.stdout
        script = f"from crm_assets.slices import slice_{number}_of_2 as d; print(*d.get_repository_def().job_names)"
        jobs = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        loaded = {job.removesuffix("_all") for job in jobs.stdout.split() if job.endswith("_all")}
        assert loaded == set(slice_of(NAMES[:5], f"{number}/2"))


def test_accounts_of_a_file_are_due_at_times_of_their_own_unless_somebody_says_when(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(yaml.safe_dump({name: {} for name in NAMES[:30]}))
    found = [crons(account) for account in configured_accounts()]
    assert len({one["frequent"] for one in found}) > 10
    assert len({one["daily"] for one in found}) > 15
    assert all(one["daily"].endswith(" 3 * * *") for one in found)
    assert found == [crons(account) for account in configured_accounts()]
    monkeypatch.setenv("AUTOMATION__FREQUENT_CRON", "7 * * * *")
    assert {crons(account)["frequent"] for account in configured_accounts()} == {"7 * * * *"}


def test_h_stands_for_a_number_of_its_field() -> None:
    for name in NAMES[:100]:
        minute, hour, day, month, weekday = spread_cron("H/15 H(2-4) H H H", name).split()
        first, _, rest = minute.partition("-")
        assert (int(first) < 15, rest) == (True, "59/15")
        assert 2 <= int(hour) <= 4
        assert 1 <= int(day) <= 28
        assert 1 <= int(month) <= 12
        assert 0 <= int(weekday) <= 6
    assert spread_cron("*/15 3 * * MON", "a") == "*/15 3 * * MON"


@pytest.mark.parametrize("cron", ["H(50-70) * * * *", "H/0 * * * *", "H/99 * * * *", "H(9-2) * * * *"])
def test_an_h_that_its_field_has_not_names_the_setting(
    write: Write, monkeypatch: pytest.MonkeyPatch, cron: str
) -> None:
    write("acme: {}")
    monkeypatch.setenv("SOURCES__ACME__AUTOMATION__FREQUENT_CRON", cron)
    [acme] = configured_accounts()
    with pytest.raises(SettingError, match=r"sources\.acme\.automation\.frequent_cron cannot be used"):
        crons(acme)


def test_each_run_of_an_account_says_on_which_host_its_crm_is(write: Write) -> None:
    write("acme: {base_url: 'https://API.example.com:8443/v1'}\nglobex: {base_url: sandbox}")
    repository = definitions_of_accounts().get_repository_def()
    tags = {
        name: repository.get_job(name).run_tags.get(HOST_TAG) for name in ("acme_all", "acme_checks", "globex_daily")
    }
    assert tags == {
        "acme_all": "api.example.com:8443",
        "acme_checks": "api.example.com:8443",
        "globex_daily": None,
    }


def test_the_list_says_how_each_account_stands(sandbox: Sandbox, crm_assets: Command, tmp_path: Path) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text("acme: {resources: [notes, deals]}\nbroken: {page_size: many}\nglobex: {resources: [notes]}")
    settings = {"ACCOUNTS": str(file), "AUTOMATION__ENABLED": "true"}
    for name in ("ACME", "GLOBEX"):
        login = {"BASE_URL": sandbox.base_url, "EMAIL": EMAIL, "API_KEY": API_KEY}
        settings |= {f"SOURCES__{name}__{word}": value for word, value in login.items()}
    assert crm_assets("sync", "--account", "globex", **settings).returncode == 0
    done = crm_assets("accounts", **settings)
    assert done.returncode == 1
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "never" in lines["acme"]
    assert "was never loaded" in lines["acme"]
    assert "✗" in lines["broken"]
    assert "✓" in lines["globex"]
    assert "fresh" in lines["globex"]
    found = json.loads(crm_assets("accounts", "--json", **settings).stdout)["accounts"]
    assert [(one["account"], one["ok"], one["freshness"]) for one in found] == [
        ("acme", True, None),
        ("broken", False, None),
        ("globex", True, "passed"),
    ]
    assert found[2]["loaded_at"].endswith("Z")
