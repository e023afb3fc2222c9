"""The dictionary of the configuration guide, in a file and nothing else, is the API v1 but for what the models know."""

import os
from pathlib import Path

import dagster as dg
import pytest

from crm_assets.account import Account, resolve_account
from crm_assets_tests.conftest import Warehouse, an_account, run_assets

DICTIONARY = (Path(__file__).parent / "apis" / "guide.py.txt").read_text()


def test_the_guides_dictionary_loads_what_v1_loads(
    warehouse: Warehouse, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_assets(instance, account=an_account()).success
    guides = _guides_account(tmp_path, monkeypatch)
    result = run_assets(instance, account=guides)
    assert result.success
    failed = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert not [one.check_name for one in failed if one.severity is dg.AssetCheckSeverity.ERROR]
    for resource in [one.name for one in guides.resources]:
        declared, inferred = warehouse.columns(resource), warehouse.columns(resource, "guide")
        assert inferred.keys() <= declared.keys()
        filled = [name for name in declared if warehouse.query(f'SELECT count("{name}") FROM crm.{resource}') != [(0,)]]
        assert set(filled) - {"_dlt_load_id"} <= inferred.keys()
        same = [f'"{name}"' for name in inferred if inferred[name] == declared[name] and name != "_dlt_load_id"]
        assert '"id"' in same
        rows = [
            warehouse.query(f"SELECT {', '.join(same)} FROM {dataset}.{resource} ORDER BY id")
            for dataset in ("crm", "guide")
        ]
        assert rows[0] == rows[1]


def _guides_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Return a second account, with the settings of the first, whose API is the dictionary in a file."""
    file = folder / "crm_api.py"
    file.write_text(DICTIONARY)
    for name in ("BASE_URL", "EMAIL", "API_KEY"):
        monkeypatch.setenv(f"SOURCES__GUIDE__{name}", os.environ[f"SOURCES__CRM__{name}"])
    monkeypatch.setenv("SOURCES__GUIDE__API", str(file))
    return resolve_account("guide", dataset="guide")
