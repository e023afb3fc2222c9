"""The records of a parent, read by children while its listing begins anew."""

import shutil
from pathlib import Path

import pytest

from crm_assets.apis.api import read_api
from crm_assets.errors import CrmAssetsError
from crm_assets.extract.parents import ParentRecords
from crm_assets_tests.sandbox_apis import CONFIGS

NOTES = read_api(CONFIGS["agilecrm"]).resource("notes")


def contacts(*numbers: int) -> list[dict[str, int]]:
    return [{"id": number} for number in numbers]


def test_a_listing_that_begins_anew_is_read_anew_though_its_first_file_has_gone(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    records = ParentRecords("contacts", [NOTES])
    records.begin(first, since="yesterday")
    records.add(contacts(1, 2))
    reading = iter(records)
    assert next(reading) == {"id": 1}
    records.add(contacts(3))
    records.give_up()
    shutil.rmtree(first)
    records.begin(second)
    records.add(contacts(1, 2, 3, 4))
    records.finish()
    assert [one["id"] for one in reading] == [2, 1, 2, 3, 4]
    assert records.total == 4


def test_a_file_that_has_gone_by_itself_is_an_error(tmp_path: Path) -> None:
    records = ParentRecords("contacts", [NOTES])
    records.begin(tmp_path)
    records.add(contacts(1))
    (tmp_path / "contacts.parents").unlink()
    with pytest.raises(FileNotFoundError):
        next(iter(records))


def test_while_nothing_has_come_no_file_is_opened(tmp_path: Path) -> None:
    records = ParentRecords("contacts", [NOTES])
    records.begin(tmp_path)
    (tmp_path / "contacts.parents").unlink()
    records.finish(CrmAssetsError("the CRM is down"))
    with pytest.raises(CrmAssetsError, match="the CRM is down"):
        next(iter(records))
