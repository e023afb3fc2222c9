"""A listing that breaks off goes on from its last good page, and never becomes a wrong one."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import Any, cast

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import Field, create_model

from crm_assets.errors import EndlessListing, LoginRefused, own_error
from crm_assets.extract.checkpoints import CheckpointStore
from crm_assets.extract.connection import Connection
from crm_assets.extract.listing import ListingReader, ReadOptions
from crm_assets.extract.spool import Spooled
from crm_assets.models.record import BaseRecord, Text
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import (
    API_KEY,
    COMMAND,
    EMAIL,
    RESOURCES,
    SMALL,
    WRITER,
    Command,
    Materialize,
    Warehouse,
    an_account,
    connection_to,
    run_assets,
)

Read = Callable[..., Spooled]
ANOTHER_LOGIN = connection_to("http://unused", "another@example.com").values


class Reading:
    """Reads contacts, 250 records in three pages, attempt after attempt."""

    def __init__(self, connection: Connection, directory: Path) -> None:
        self.connection = connection
        self.directory = directory
        self.said: list[str] = []
        self.reader: ListingReader | None = None

    def read(self, within: float = 3600.0, **changes: Any) -> Spooled:
        """Make one attempt."""
        connection = replace(self.connection, **changes)
        checkpoints = CheckpointStore(self.directory / "crm.contacts", connection.source_id, within)
        options = ReadOptions(WRITER, self.directory, checkpoints)
        self.reader = ListingReader(RESOURCES["contacts"], connection, options, self.said.append)
        return self.reader.read()


@pytest.fixture
def contacts(connection: Connection, tmp_path: Path) -> Reading:
    """The listing of contacts."""
    return Reading(connection, tmp_path)


def ids(listing: Spooled) -> list[int]:
    return [record_id for table in listing.tables() for record_id in table["id"].to_pylist()]


def expected(sandbox: Sandbox) -> list[int]:
    return [int(record["id"]) for record in sandbox.crm.records("contacts")]


def cursors(sandbox: Sandbox) -> list[str]:
    return [seen.query.get("cursor", "") for seen in sandbox.log]


def break_off(contacts: Reading, sandbox: Sandbox, after: int = 2) -> None:
    """Read `after` pages and break off."""
    sandbox.fault(Fault("contacts", "status", after=after, status=503))
    with pytest.raises(Exception, match="HTTP 503"):
        contacts.read()
    sandbox.clear_faults()


def test_it_goes_on_from_the_last_good_page_and_says_so(contacts: Reading, sandbox: Sandbox) -> None:
    break_off(contacts, sandbox)
    before = sandbox.requests.total()
    listing = contacts.read()
    assert sandbox.requests.total() == before + 1
    assert ids(listing) == expected(sandbox)
    assert listing.rows == SMALL["contacts"]
    [said] = contacts.said
    assert said.startswith("contacts: resuming the interrupted listing after 200 records; it started at ")
    assert contacts.reader
    assert (contacts.reader.records, contacts.reader.resumed) == (250, 200)


def test_columns_and_types_of_the_first_half_are_still_known(contacts: Reading, sandbox: Sandbox) -> None:
    first = expected(sandbox)[0]
    sandbox.crm.update("contacts", first, onlyHere=[1])
    sandbox.crm.replace("contacts", 1, {"id": "x"})
    break_off(contacts, sandbox)
    listing = contacts.read()
    assert "only_here" in listing.schema.names
    assert listing.fields["onlyHere"] == ["array"]
    assert (listing.rows, listing.rejected_rows) == (249, 1)
    rows = {row["id"]: row for table in listing.tables() for row in table.to_pylist()}
    assert rows[first]["only_here"] == "[1]"


@pytest.mark.parametrize("fault", ["500x4", "400x1", "401x1", "403x1", "429x4", "resetx4", "cut_offx4"])
def test_a_cursor_that_the_crm_takes_no_more_starts_the_listing_from_the_beginning(
    contacts: Reading, sandbox: Sandbox, fault: str
) -> None:
    break_off(contacts, sandbox)
    sandbox.fault(f"contacts={fault}")
    assert ids(contacts.read()) == expected(sandbox)
    assert contacts.said[1] == "contacts: the listing could not be resumed; reading it from the start."
    assert cursors(sandbox)[-3] == ""


def test_a_crm_that_answers_neither_with_the_cursor_nor_without_refuses_the_login(
    contacts: Reading, sandbox: Sandbox
) -> None:
    break_off(contacts, sandbox)
    sandbox.fault("contacts=401")
    with pytest.raises(LoginRefused):
        contacts.read()
    assert cursors(sandbox)[-1] == ""
    sandbox.clear_faults()
    before = sandbox.requests.total()
    assert ids(contacts.read()) == expected(sandbox)
    assert sandbox.requests.total() == before + 1


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_crm_that_is_down_at_the_second_attempt_does_not_cost_the_pages_of_the_first(
    contacts: Reading, sandbox: Sandbox, status: int
) -> None:
    break_off(contacts, sandbox)
    sandbox.fault(Fault("contacts", "status", status=status))
    with pytest.raises(Exception, match=f"HTTP {status}"):
        contacts.read()
    sandbox.clear_faults()
    before = sandbox.requests.total()
    assert ids(contacts.read()) == expected(sandbox)
    assert sandbox.requests.total() == before + 1


def test_a_second_break_goes_on_from_there(contacts: Reading, sandbox: Sandbox) -> None:
    break_off(contacts, sandbox, after=1)
    break_off(contacts, sandbox, after=1)
    assert ids(contacts.read()) == expected(sandbox)
    assert [line.split()[6] for line in contacts.said] == ["100", "200"]


@pytest.mark.parametrize("changes", [{"within": 0.0}, {"page_size": 50}, {"values": ANOTHER_LOGIN}])
def test_a_listing_that_is_too_old_or_another_one_is_read_from_the_beginning(
    contacts: Reading, sandbox: Sandbox, changes: dict[str, Any]
) -> None:
    break_off(contacts, sandbox)
    seen = len(sandbox.log)
    try:
        contacts.read(**changes)
    except Exception as error:
        assert isinstance(own_error(error, "contacts"), LoginRefused)  # another e-mail is another login
    assert cursors(sandbox)[seen] == ""
    assert not contacts.said


class SetLater(Event):
    """Is set from the n-th time on that somebody asks."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_listing_that_is_cancelled_at_whatever_moment_loses_no_record(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path
) -> None:
    moments = 0
    while True:
        try:
            contacts.read(cancelled=SetLater(moments))
        except Exception as error:
            assert "cancelled" in str(own_error(error, "contacts"))
        else:
            break
        assert ids(contacts.read()) == expected(sandbox)
        rmtree(tmp_path / "crm.contacts")
        moments += 1
    assert moments > 6


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "an empty file": lambda folder: os.truncate(folder / "contacts.rows.0.arrows", 0),
    "a cut file": lambda folder: os.truncate(folder / "contacts.rows.0.arrows", 20_000),
    "a file that ends after its head": lambda folder: os.truncate(
        folder / "contacts.rows.0.arrows", len(pa.ipc.open_stream(folder / "contacts.rows.0.arrows").schema.serialize())
    ),
    "a cut checkpoint": lambda folder: os.truncate(folder / "checkpoint.json", 100),
    "a checkpoint of an earlier version": lambda folder: (folder / "checkpoint.json").write_text(
        re.sub(r'"undeclared":\{[^}]*\}', '"undeclared":["x"]', (folder / "checkpoint.json").read_text())
    ),
    "a checkpoint without a time zone": lambda folder: (folder / "checkpoint.json").write_text(
        (folder / "checkpoint.json").read_text().replace("+00:00", "")
    ),
    "a folder for a checkpoint": lambda folder: (
        (folder / "checkpoint.json").rename(folder / "before").with_name("checkpoint.json").mkdir()
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_lost_machine_left_damaged_starts_the_listing_from_the_beginning(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path, damage: str
) -> None:
    break_off(contacts, sandbox)
    DAMAGES[damage](tmp_path / "crm.contacts" / "1")
    assert ids(contacts.read()) == expected(sandbox)
    assert not contacts.said


def test_an_empty_page_for_the_cursor_starts_the_listing_from_the_beginning(
    contacts: Reading, sandbox: Sandbox
) -> None:
    break_off(contacts, sandbox)
    sandbox.fault(Fault("contacts", "html", times=1, body='{"data": []}'))
    assert ids(contacts.read()) == expected(sandbox)
    assert contacts.said[1] == "contacts: the listing could not be resumed; reading it from the start."


def test_attempts_that_get_nothing_leave_nothing(contacts: Reading, sandbox: Sandbox, tmp_path: Path) -> None:
    for _ in range(3):
        break_off(contacts, sandbox, after=0)
    assert len(list((tmp_path / "crm.contacts").iterdir())) == 1


def test_a_file_that_is_missing_starts_the_listing_from_the_beginning(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path
) -> None:
    break_off(contacts, sandbox)
    next((tmp_path / "crm.contacts").rglob("*.arrows")).unlink()
    assert ids(contacts.read()) == expected(sandbox)
    assert not contacts.said


def test_what_can_no_longer_be_resumed_is_removed_by_the_next_attempt(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path
) -> None:
    break_off(contacts, sandbox)
    sandbox.fault("contacts=503x4")
    with pytest.raises(Exception, match="HTTP 503"):
        contacts.read(within=0.0)
    assert [folder.name for folder in (tmp_path / "crm.contacts").iterdir()] == ["1"]
    assert not list((tmp_path / "crm.contacts" / "1").glob("checkpoint.json"))


def test_a_listing_whose_cursor_came_twice_leaves_no_checkpoint(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.fault("contacts=repeat_cursor@1")
    with pytest.raises(EndlessListing, match="came twice"):
        contacts.read()
    assert not (tmp_path / "crm.contacts").exists()
    sandbox.clear_faults()
    assert ids(contacts.read()) == expected(sandbox)
    assert not contacts.said


def test_a_cursor_that_echoes_the_key_is_neither_on_disk_nor_in_a_message(
    contacts: Reading, sandbox: Sandbox, tmp_path: Path
) -> None:
    for key in (API_KEY, API_KEY.encode().hex()):
        page = json.dumps({"data": [{"id": 1, "cursor": f"after-{key}"}]})
        sandbox.fault(Fault("contacts", "html", times=1, body=page))
        sandbox.fault(Fault("contacts", "status", status=503))
        with pytest.raises(Exception, match="HTTP 503") as error:
            contacts.read()
        sandbox.clear_faults()
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert key.encode() not in kept
        assert key not in f"{error.value}{contacts.said}"
    sandbox.fault(Fault("contacts", "html", body=page))
    with pytest.raises(EndlessListing) as twice:
        contacts.read()
    assert API_KEY not in str(twice.value)
    assert "cursor=after-***" in str(twice.value)


def test_the_step_that_tries_again_goes_on_and_a_loaded_listing_leaves_nothing(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    sandbox.fault(Fault("contacts", "status", after=2, times=1, status=503, retry_after="9999"))
    assert materialize(["contacts"]).success
    assert sandbox.requests["contacts"] == 4
    assert warehouse.tables()["contacts"] == SMALL["contacts"]
    assert not list((warehouse.path.parent / "unfinished").iterdir())


def test_another_machine_without_these_files_lists_from_the_start(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    sandbox.fault(Fault("contacts", "status", after=2, status=503, retry_after="9999"))
    assert not materialize(["contacts"], account=an_account(data_dir=tmp_path / "died")).success
    assert list((tmp_path / "died" / "unfinished").iterdir())
    sandbox.clear_faults()
    before = len(sandbox.log)
    assert materialize(["contacts"], account=an_account(data_dir=tmp_path / "lives")).success
    assert cursors(sandbox)[before] == ""
    assert len(sandbox.log) - before == 3
    assert warehouse.tables()["contacts"] == SMALL["contacts"]


def test_another_machine_that_shares_the_folder_resumes(
    materialize: Materialize, sandbox: Sandbox, tmp_path: Path
) -> None:
    shared = an_account(data_dir=tmp_path / "shared")
    sandbox.fault(Fault("contacts", "status", after=2, status=503, retry_after="9999"))
    assert not materialize(["contacts"], account=shared).success
    sandbox.clear_faults()
    before = len(sandbox.log)
    with dg.DagsterInstance.ephemeral() as another:
        assert run_assets(another, ["contacts"], account=shared).success
    assert len(sandbox.log) - before == 1


def test_a_listing_whose_table_another_machine_has_loaded_meanwhile_is_read_from_the_start(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    returned, other = (an_account(data_dir=tmp_path / name) for name in ("returned", "other"))
    first = expected(sandbox)[0]
    sandbox.fault(Fault("contacts", "status", after=2, status=503, retry_after="9999"))
    assert not materialize(["contacts"], account=returned).success
    sandbox.clear_faults()
    sandbox.crm.update("contacts", first, first_name="As it is now")
    assert materialize(["contacts"], account=other).success
    before = len(sandbox.log)
    assert materialize(["contacts"], account=returned).success
    assert cursors(sandbox)[before + 1 :][:1] == [""]
    assert warehouse.query(f"SELECT first_name FROM crm.contacts WHERE id = {first}") == [("As it is now",)]


def test_sync_after_a_kill_says_what_it_goes_on_with(
    crm_assets: Command,
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY, latency=0.6) as slow:
        settings["SOURCES__CRM__BASE_URL"] = slow.base_url
        fault = slow.fault(Fault("contacts", "hang", after=2))
        with subprocess.Popen(
            [COMMAND, "sync", "contacts"], env=settings, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            process.stdout.readline()  # which account
            assert "200 records, 2 pages" in process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        fault.release.set()
        slow.clear_faults()
        done = crm_assets("sync", "contacts")
    assert done.returncode == 0
    assert "contacts: resuming the interrupted listing after 200 records" in done.stdout


def test_a_listing_that_was_begun_with_another_model_is_read_from_the_start(
    materialize: Materialize, sandbox: Sandbox, warehouse: Warehouse
) -> None:
    before = an_account()
    contact = before.resource("contacts").model
    assert contact
    first = create_model("First", __base__=BaseRecord, region=(Text | None, Field(None, description="Before all.")))
    changed = create_model("Changed", __base__=(contact, first))
    assert next(iter(changed.model_fields)) == "region"
    after = replace(
        before,
        resources=tuple(
            replace(one, model=cast(Any, changed)) if one.model is contact else one for one in before.resources
        ),
    )
    for record in list(sandbox.crm.records("contacts")):
        sandbox.crm.update("contacts", record["id"], region="here", source="there")
    sandbox.fault(Fault("contacts", "status", after=2, status=503, retry_after="9999"))
    assert not materialize(["contacts"], account=before).success
    sandbox.clear_faults()
    asked = len(sandbox.log)
    assert materialize(["contacts"], account=after).success
    assert cursors(sandbox)[asked] == ""
    counted = "SELECT region, source, count(*) FROM crm.contacts GROUP BY ALL"
    assert warehouse.query(counted) == [("here", "there", SMALL["contacts"])]
