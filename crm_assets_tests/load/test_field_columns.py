"""A field has one column for good, whatever it is called and whatever comes beside it."""

from typing import Any

import pytest
from pydantic import Field

from crm_assets.models.columns import column_name
from crm_assets.models.record import Text
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Materialize, an_account, declaring
from crm_assets_tests.warehouses import AnyWarehouse

pytestmark = pytest.mark.each_warehouse(thorough=True)

OTHER_SCRIPTS = {
    "Имя": "imya",
    "Тип": "tip",
    "Город": "gorod",
    "名前": "ming_qian",
    "Größe": "grosse",
    "€": "eur",
    "price-": None,
    "price+": None,
    "price#": None,
    "%": None,
}
"""Names of fields, and what their columns are called; None if that depends on the others."""


def row(warehouse: AnyWarehouse, record_id: int) -> dict[str, Any]:
    """Return what the row of a note has, without what is NULL."""
    [found] = warehouse.rows("notes", where=f"id = {record_id}")
    return {name: value for name, value in found.items() if value is not None}


def holders(warehouse: AnyWarehouse, record_id: int, values: set[str]) -> dict[str, str]:
    """Return which column has which of `values`."""
    return {value: name for name, value in row(warehouse, record_id).items() if value in values}


def test_fields_in_other_scripts_and_with_other_signs_have_a_column_each(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse
) -> None:
    sandbox.crm.create("notes", {"id": 1, **{field: f"value of {field}" for field in OTHER_SCRIPTS}})
    sandbox.crm.create("notes", {"id": 2, **{field: f"value of {field}" for field in reversed(OTHER_SCRIPTS)}})
    assert materialize(["notes"]).success
    values = {f"value of {field}" for field in OTHER_SCRIPTS}
    found = holders(warehouse, 1, values)
    assert found.keys() == values
    assert len(set(found.values())) == len(OTHER_SCRIPTS)
    assert holders(warehouse, 2, values) == found
    for field, name in OTHER_SCRIPTS.items():
        assert name is None or found[f"value of {field}"] == name
    assert materialize(["notes"]).success
    assert holders(warehouse, 1, values) == found


@pytest.mark.parametrize("first", ["fooBar", "foo_bar"])
def test_two_spellings_never_share_a_column_and_keep_theirs_from_run_to_run(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse, first: str
) -> None:
    second = "foo_bar" if first == "fooBar" else "fooBar"
    sandbox.crm.create("notes", {"id": 1, first: "of the first"})
    assert materialize(["notes"]).success
    [own] = holders(warehouse, 1, {"of the first"}).values()
    assert own == "foo_bar"
    sandbox.crm.create("notes", {"id": 2, second: "of the second"})
    assert materialize(["notes"]).success
    [other] = holders(warehouse, 2, {"of the second"}).values()
    assert other != own
    sandbox.crm.delete("notes", 1)
    sandbox.crm.create("notes", {"id": 3, second: "alone", "subject": "x"})
    assert materialize(["notes"]).success
    assert holders(warehouse, 3, {"alone"}) == {"alone": other}


def test_what_has_a_column_keeps_it_and_the_limit_is_per_table(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__NEW_COLUMNS", "5")
    sent: dict[str, int] = {}
    kept: set[str] = set()
    for number in range(0, 9, 3):
        sent |= {f"f{one}": one for one in range(number, number + 3)}
        # The listing begins with the newest fields, and ends with those that have a column.
        sandbox.crm.replace("notes", 0, {"id": 1, **dict(reversed(sent.items()))})
        assert materialize(["notes"]).success
        [found] = warehouse.rows("notes", where="id = 1")
        in_columns = {name: value for name, value in found.items() if name in sent}
        shared = found.get("other_fields") or {}
        assert in_columns | shared == sent
        assert in_columns.keys().isdisjoint(shared)
        assert kept <= in_columns.keys()
        kept = set(in_columns)
    assert len(kept) == 5


def test_a_column_of_an_earlier_version_stays_that_of_its_field(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse
) -> None:
    sandbox.crm.create("notes", {"id": 1, "Größe": "XL", "naïve": "yes"})
    assert materialize(["notes"]).success
    assert (column_name("Größe"), column_name("naïve")) == ("grosse", "naive")
    # As the version before called them, without a word of whose they are.
    warehouse.change("ALTER TABLE crm.notes RENAME COLUMN grosse TO gr_e")
    warehouse.change("ALTER TABLE crm.notes RENAME COLUMN naive TO na_ve")
    warehouse.change("DELETE FROM crm._dlt_version")
    assert materialize(["notes"]).success
    assert holders(warehouse, 1, {"XL", "yes"}) == {"XL": "gr_e", "yes": "na_ve"}


def test_a_column_that_is_declared_for_another_field_is_that_ones_from_then_on(
    materialize: Materialize, sandbox: Sandbox, warehouse: AnyWarehouse
) -> None:
    sandbox.crm.create("notes", {"id": 1, "fooBar": "undeclared"})
    assert materialize(["notes"]).success
    assert holders(warehouse, 1, {"undeclared"}) == {"undeclared": "foo_bar"}
    declared = declaring(an_account(), "notes", foo_bar=(Text | None, Field(None, description="Declared since.")))
    sandbox.crm.update("notes", 1, foo_bar="declared")
    assert materialize(["notes"], account=declared).success
    found = holders(warehouse, 1, {"undeclared", "declared"})
    assert found["declared"] == "foo_bar"
    assert found["undeclared"] != "foo_bar"
