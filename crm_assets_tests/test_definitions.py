"""The code location loads everywhere, with nothing set."""

import subprocess
import sys
from pathlib import Path

import pytest

from crm_assets.definitions import defs
from crm_assets.project import ROOT
from crm_assets_tests.conftest import environment

DAGSTER = [sys.executable, "-m", "dagster"]


def test_the_definitions_are_valid() -> None:
    type(defs).validate_loadable(defs)


@pytest.mark.parametrize(
    "arguments",
    [
        ["asset", "list", "-m", "crm_assets.definitions"],
        ["definitions", "validate", "-w", str(ROOT / "workspace.yaml")],
    ],
)
def test_the_code_location_loads_with_an_empty_environment_from_another_directory(
    arguments: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*DAGSTER, *arguments],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": environment()["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_definitions_brings_little_beside_dagster_and_dlt() -> None:
    script = "import crm_assets.definitions, sys; print(*(m for m in ('typer', 'apprise') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_one_setting_starts_all_schedules_and_sensors() -> None:
    script = (
        "from crm_assets.definitions import defs; repository = defs.get_repository_def(); "
        "print(*(one.default_status.value for one in [*repository.schedule_defs, *repository.sensor_defs]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(AUTOMATION__ENABLED="true"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["RUNNING"] * 6


def test_a_list_of_accounts_makes_as_many_groups_side_by_side() -> None:
    script = (
        "from crm_assets.definitions import defs; graph = defs.resolve_asset_graph(); "
        "print(*sorted({graph.get(key).group_name for key in graph.get_all_asset_keys()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(ACCOUNTS="crm, acme", SOURCES__ACME__BASE_URL="https://api.example.com"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["acme", "crm"]


def test_importing_the_package_imports_neither_dagster_nor_dlt() -> None:
    script = "import crm_assets, sys; print(*(m for m in ('dagster', 'dlt', 'pyarrow') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_address_of_a_package_registry_is_in_the_lock_file() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert lock.count("==") > 50
    assert lock.count("--hash=sha256:") >= lock.count("==")
