"""Reading all resources at once: progress, cancelling, memory."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread, active_count
from time import monotonic

import pytest

from crm_assets.errors import DiskError
from crm_assets.extract import listing
from crm_assets.extract.connect import connect
from crm_assets.extract.connection import Connection
from crm_assets.extract.fetch import Listings, fetch
from crm_assets.extract.progress import ProgressListener, Reading, listener_or_log, listening, log_listener
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.listings import MODELS
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import RESOURCES, SMALL, an_account, warehouse_in
from crm_assets_tests.sandbox_apis import account_of

SILENT = ProgressListener(lambda _: None, lambda _: None)


def read(connection: Connection, directory: Path, *names: str, listener: ProgressListener = SILENT) -> Listings:
    """Read the resources `names`, all for none, into `directory`."""
    account = an_account(data_dir=directory)
    return fetch(account, account.select(names), connection, directory, listener)


def test_every_listing_comes_complete_in_the_order_of_the_table(connection: Connection, tmp_path: Path) -> None:
    listings = read(connection, tmp_path)
    assert [one.resource for one in listings.complete] == list(RESOURCES)
    assert {one.resource: one.spooled.rows for one in listings.complete} == SMALL
    assert {one.resource: sum(table.num_rows for table in one.spooled.tables()) for one in listings.complete} == SMALL


def test_resources_are_read_at_the_same_time(connection: Connection, sandbox: Sandbox, tmp_path: Path) -> None:
    held = [sandbox.fault(Fault(name, "hang")) for name in MODELS]
    reading = Thread(target=read, args=(connection, tmp_path), daemon=True)
    reading.start()
    deadline = monotonic() + 10
    while len(sandbox.requests) < len(MODELS) and monotonic() < deadline:
        reading.join(0.01)
    assert len(sandbox.requests) == len(MODELS)
    for fault in held:
        fault.release.set()
    reading.join(10)
    assert not reading.is_alive()


def test_progress_tells_resource_records_pages_and_rate_of_what_is_still_read(
    connection: Connection, sandbox: Sandbox, tmp_path: Path
) -> None:
    held = sandbox.fault(Fault("contacts", "hang", after=2))
    told: list[list[Reading]] = []

    def tell(readings: Sequence[Reading]) -> None:
        told.append(list(readings))
        if readings[0].pages == 2:
            held.release.set()

    read(connection, tmp_path, "contacts", "notes", listener=ProgressListener(tell, print, every=0.02))
    while_held = next(readings for readings in told if readings[0].pages == 2)
    assert not while_held[0].finished
    assert while_held[0].seconds > 0
    assert (told[-1][0].records, told[-1][0].pages, told[-1][0].finished) == (250, 3, True)


def test_a_line_of_progress_reads_well_and_finished_listings_are_not_repeated() -> None:
    lines: list[str] = []
    listener = log_listener(lines.append)
    listener.tell(
        [
            Reading("contacts", 12_000, 4_000, 120, 4.0, False),
            Reading("notes", 5, 0, 1, 0.1, True),
            Reading("deals", 0, 0, 0, 0.1, False),
        ]
    )
    assert lines == ["contacts: 12,000 records, 120 pages, 2,000 records/s"]


def test_a_watcher_of_the_context_goes_before_the_log() -> None:
    with listening(SILENT):
        assert listener_or_log(print) is SILENT
    assert listener_or_log(print) is not SILENT


class Interrupted(BaseException):
    """Stands for what Dagster raises in the main thread when a run is cancelled."""


def test_an_interruption_stops_the_threads_promptly(connection: Connection, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault(Fault("notes", "status", status=429, retry_after="250"))
    sandbox.fault(Fault("tickets", "status", status=503))
    before = active_count()

    def interrupt(_: object) -> None:
        raise Interrupted

    started = monotonic()
    with pytest.raises(Interrupted):
        read(connection, tmp_path, "notes", "tickets", listener=ProgressListener(interrupt, print, every=0.3))
    assert monotonic() - started < 4
    assert active_count() - before <= 2  # the sandbox's own, one per connection


def test_a_folder_that_is_not_there_is_an_error_that_names_it(connection: Connection, tmp_path: Path) -> None:
    listings = read(connection, tmp_path / "missing", "notes")
    [failed] = listings.failed.values()
    assert isinstance(failed, DiskError)
    assert f"{tmp_path}/missing/notes.rows.0.arrows" in str(failed)
    assert "No such file or directory" in str(failed)


@pytest.mark.parametrize("last", [None, "the end", [1]])
def test_a_page_whose_last_record_is_none_is_not_taken_for_the_end(
    connection: Connection, sandbox: Sandbox, tmp_path: Path, last: object
) -> None:
    sandbox.crm.replace("contacts", 249, last)
    listings = read(connection, tmp_path, "contacts")
    [failed] = listings.failed.values()
    assert "it does not say whether another page follows" in str(failed)


@pytest.mark.parametrize("cursor", [0, False, [], {}, "", None])
def test_a_cursor_that_says_nothing_ends_the_listing(
    connection: Connection, sandbox: Sandbox, tmp_path: Path, cursor: object
) -> None:
    sandbox.crm.update("contacts", list(sandbox.crm.records("contacts"))[249]["id"], cursor=cursor)
    [contacts] = read(connection, tmp_path, "contacts").complete
    assert (contacts.records, sandbox.requests["contacts"]) == (250, 3)


def same_pages(sandbox: Sandbox, *cursors: str) -> None:
    """Let the first pages of contacts all have one record, the same."""
    for cursor in cursors:
        page = json.dumps({"data": [{"id": 1, "cursor": cursor}]})
        sandbox.fault(Fault("contacts", "html", times=1, body=page))


def test_a_listing_whose_pages_are_all_the_same_is_given_up(
    connection: Connection, sandbox: Sandbox, tmp_path: Path
) -> None:
    same_pages(sandbox, "a", "b", "c")
    [failed] = read(connection, tmp_path, "contacts").failed.values()
    assert "the same page came three times in a row, after 3 pages: the listing would never end" in str(failed)


def test_a_page_that_comes_twice_because_so_many_records_are_new_ends_nothing(
    connection: Connection, sandbox: Sandbox, tmp_path: Path
) -> None:
    same_pages(sandbox, "a", sandbox.crm.cursor("contacts", 100))
    [contacts] = read(connection, tmp_path, "contacts").complete
    assert contacts.spooled.typed({}).newest().rows == 151


def test_a_listing_that_takes_too_long_is_given_up(connection: Connection, sandbox: Sandbox, tmp_path: Path) -> None:
    hurried = replace(connection, listing_seconds=0.0)
    [failed] = read(hurried, tmp_path, "contacts").failed.values()
    assert "took more than 0 s, after 1 page. Its table is untouched, and the next run resumes" in str(failed)


def test_a_parent_that_is_read_for_its_children_alone_is_resumed_for_them_alone_and_only_while_it_is_unfinished(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse_in(tmp_path, sandbox, monkeypatch)
    monkeypatch.setattr(listing, "BATCH_RECORDS", 100)
    account = account_of("agilecrm", data_dir=tmp_path)

    def contacts_asked_for(name: str) -> int:
        before = sandbox.requests["contacts"]
        with connect(account) as connection:
            fetch(account, account.select([name]), connection, tmp_path, SILENT)
        return sandbox.requests["contacts"] - before

    sandbox.fault("contacts=404@2")
    assert contacts_asked_for("documents") == 3
    sandbox.clear_faults()
    assert contacts_asked_for("contacts") == 3
    assert contacts_asked_for("documents") == 1
    assert contacts_asked_for("documents") == 3
