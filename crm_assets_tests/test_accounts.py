"""Two accounts in one code location never touch, wait for, or speak of each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from crm_assets.account import Account
from crm_assets.orchestration.run_history import last_loads
from crm_assets.report.collect import collect
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, Warehouse, an_account, failure_of, run_assets
from crm_assets_tests.orchestration.test_sensors import requested, skipped, tick
from crm_assets_tests.webhook import webhook


@dataclass
class Two:
    """Two accounts, each with a CRM of its own."""

    acme: Account
    globex: Account
    crms: dict[str, Sandbox]


@pytest.fixture
def two(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    """The accounts acme and globex, in the warehouse of this test."""
    with (
        Sandbox(SMALL, seed=1, email="acme", api_key="a") as acme,
        Sandbox(SMALL, seed=2, email="globex", api_key="g") as globex,
    ):
        crms = {"acme": acme, "globex": globex}
        for name, crm in crms.items():
            monkeypatch.setenv(f"SOURCES__{name.upper()}__BASE_URL", crm.base_url)
            monkeypatch.setenv(f"SOURCES__{name.upper()}__EMAIL", name)
            monkeypatch.setenv(f"SOURCES__{name.upper()}__API_KEY", name[0])
        yield Two(an_account("acme"), an_account("globex"), crms)


def test_each_record_is_in_the_dataset_of_its_own_account(
    two: Two, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    for account in (two.acme, two.globex):
        assert run_assets(instance, ["deals"], account=account).success
    for name, crm in two.crms.items():
        ids = {int(record["id"]) for record in crm.crm.records("deals")}
        assert {row[0] for row in warehouse.query(f"SELECT id FROM crm_{name}.deals")} == ids


def test_two_accounts_that_would_overwrite_each_other_are_refused(
    two: Two, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    shared = {"dataset": "shared", "data_dir": two.acme.data_dir}
    assert run_assets(instance, ["deals"], account=an_account("acme", **shared)).success
    before = warehouse.query("SELECT * FROM shared.deals ORDER BY id")
    failed = run_assets(instance, ["deals", "notes"], account=an_account("globex", **shared))
    assert "shared.deals is a table of 'acme', another account or dlt pipeline" in failure_of(failed).replace('"', "")
    assert warehouse.query("SELECT * FROM shared.deals ORDER BY id") == before
    assert warehouse.query("SELECT count(*) FROM shared.notes") == [(SMALL["notes"],)]
    warehouse.query(failure_of(failed).rpartition("run again: ")[2].partition(";")[0])
    assert run_assets(instance, ["deals"], account=an_account("globex", **shared)).success


def test_what_fails_for_one_is_neither_recovered_told_nor_reported_for_the_other(
    two: Two, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.crms["acme"].fault(Fault("deals", "status", retry_after="9999"))
    assert not run_assets(instance, ["deals"], account=two.acme).success
    assert run_assets(instance, ["deals"], account=two.globex).success
    assert last_loads(instance, two.acme)["deals"].ending == "failed"
    assert last_loads(instance, two.globex)["deals"].ending == "landed"
    with webhook() as hook:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", hook.url)
        tick("alerts", instance, account=two.globex)
        assert hook.texts == []
        tick("alerts", instance, account=two.acme)
        assert [text.splitlines()[0] for text in hook.texts] == ["*CRM: acme/deals did not load*"]
    two.crms["acme"].clear_faults()
    assert skipped(tick("recovery", instance, account=two.globex)).startswith("No table is missing")
    assert requested(tick("recovery", instance, account=two.acme)) == {"deals"}
    loads = {asset.key: asset.load.ending for asset in collect(instance, [two.acme, two.globex], ["deals"]).assets}
    assert loads == {"acme/deals": "failed", "globex/deals": "landed"}
