"""One run at a time loads a table, whoever starts it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crm_assets.errors import TableLocked
from crm_assets.load.table_locks import table_locks
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import COMMAND, SMALL, Materialize, Warehouse, an_account, failure_of
from crm_assets_tests.runner import Run

HOLDER = """
import sys
from crm_assets.account import resolve_account
from crm_assets.load.table_locks import table_locks
account = resolve_account(data_dir=sys.argv[1])
with table_locks(account, account.select(["deals", "notes"]), print):
    print("mine", flush=True)
    sys.stdin.read()
"""


def locked(directory: Path, *names: str, timeout: float, log: Callable[[str], None] = print) -> Any:
    """Return the locks of the tables `names`."""
    account = an_account(data_dir=directory)
    warehouse = account.warehouse.model_copy(update={"lock_timeout": timeout})
    return table_locks(replace(account, warehouse=warehouse), account.select(names), log)


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    """Another process that has locked deals and notes until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "mine\n"
    return process


def test_a_table_that_another_process_loads_is_refused_after_the_timeout_and_others_are_not(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    with locked(tmp_path, "contacts", "tasks", timeout=0):
        pass
    with pytest.raises(TableLocked, match=rf"^crm.deals was being loaded by process {holder.pid} for 0 s"):
        locked(tmp_path, "contacts", "deals", timeout=0).__enter__()
    holder.communicate()


def test_two_accounts_never_wait_for_each_other(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    acme = an_account("acme", data_dir=tmp_path)
    with table_locks(acme, acme.select(["deals"]), pytest.fail):
        pass
    holder.communicate()


def test_the_second_waits_says_so_once_and_goes_on_when_the_first_is_killed(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        holder.kill()

    with locked(tmp_path, "notes", timeout=30, log=log):
        assert said == [f"Waiting up to 30 s for crm.notes: it is being loaded by process {holder.pid}."]
    holder.communicate()


def test_two_runs_for_one_table_in_two_processes_never_ask_for_it_at_once(
    sandbox: Sandbox,
    settings: dict[str, str],
    materialize: Materialize,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("WAREHOUSE__LOCK_TIMEOUT", "0")
    fault = sandbox.fault("deals=hang")
    with subprocess.Popen([COMMAND, "sync", "deals"], env=settings, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # which account
        process.stdout.readline()  # progress of the listing that hangs
        refused = failure_of(materialize(["deals"]))
        assert f"crm.deals was being loaded by process {process.pid}" in refused
        assert sandbox.requests["deals"] == 1
        assert materialize(["notes"]).success
        fault.release.set()
        sandbox.clear_faults()
        process.communicate()
    assert process.returncode == 0
    assert warehouse.tables() == {"deals": SMALL["deals"], "notes": SMALL["notes"], "rejected_records": 0}


@pytest.mark.thorough
def test_three_runs_for_the_same_tables_at_once_all_end_well_one_after_the_other(
    sandbox: Sandbox,
    settings: dict[str, str],
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    ours = {name: value for name, value in settings.items() if name.startswith(("SOURCES__", "DLT_"))}
    (tmp_path / "history").mkdir()
    assert Run(tmp_path / "history", ours, ["milestone"]).outcome().success
    runs = [Run(tmp_path / "history", ours, ["deals", "notes"]) for _ in range(3)]
    sandbox.crm.update("deals", next(iter(sandbox.crm.records("deals")))["id"], name="Changed meanwhile")
    assert [run.outcome().success for run in runs] == [True] * 3
    assert warehouse.query("SELECT count(*) FROM crm.deals WHERE name = 'Changed meanwhile'") == [(1,)]
    for name in ("deals", "notes"):
        assert warehouse.query(f"SELECT count(*), count(DISTINCT id) FROM crm.{name}") == [(SMALL[name], SMALL[name])]
