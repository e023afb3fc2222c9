"""A lake: Delta tables in a folder, loaded through a working copy."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from dlt.destinations.job_client_impl import SqlJobClientBase

from crm_assets.errors import SettingError, WarehouseChanged, WarehouseLocked
from crm_assets.load.table_locks import lake_lock
from crm_assets.load.warehouses.destination import duckdb_file, open_destination
from crm_assets.load.warehouses.lake import Lake, find_lake
from crm_assets.load.warehouses.snapshot import snapshot_path
from crm_assets.load.warehouses.working_copy import copy_tables
from crm_assets.models.columns import DELETED_AT
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import Command, Materialize, an_account, failure_of
from crm_assets_tests.lakes import LakeUnderTest

HOLDER = """
import sys
from crm_assets.account import resolve_account
from crm_assets.load.table_locks import lake_lock
with lake_lock(resolve_account(data_dir=sys.argv[1]), "the lake", lock_timeout=0, log=print):
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path: Path, materialize: Materialize, monkeypatch: pytest.MonkeyPatch) -> LakeUnderTest:
    """An empty lake in a folder whose name needs care, into which the runs of this test load."""
    found = LakeUnderTest(tmp_path / "ein See ü")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def failed_checks(result: Any) -> list[tuple[str, str | None]]:
    """Return the checks that failed, with what they say."""
    return [(one.check_name, one.description) for one in result.get_asset_check_evaluations() if not one.passed]


def by_id(lake: LakeUnderTest, table: str) -> dict[Any, dict[str, Any]]:
    """Return the rows of `table` by their ids."""
    return {row["id"]: row for row in lake.rows("crm", table)}


def test_a_load_writes_delta_tables_and_all_checks_pass(lake: LakeUnderTest, materialize: Materialize) -> None:
    result = materialize(["contacts", "companies", "notes"])
    assert result.success
    assert failed_checks(result) == []
    assert lake.tables("crm") == {"companies": 30, "contacts": 250, "notes": 20, "rejected_records": 0}


def test_nothing_of_the_working_copy_stays(lake: LakeUnderTest, materialize: Materialize, tmp_path: Path) -> None:
    assert materialize(["notes"]).success
    assert list(tmp_path.rglob("*.duckdb*")) == []


def test_an_event_says_where_the_table_is(lake: LakeUnderTest, materialize: Materialize) -> None:
    [event] = materialize(["notes"]).get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["dagster/table_name"].value == "crm.notes"
    assert metadata["dagster/uri"].value == (lake.path / "crm" / "notes").as_uri()


def test_changed_new_and_deleted_records_arrive_with_the_next_load(
    lake: LakeUnderTest, materialize: Materialize, sandbox: Sandbox
) -> None:
    materialize(["notes"])
    changed, copied, gone, *_ = list(sandbox.crm.records("notes"))
    sandbox.crm.update("notes", changed["id"], subject="changed")
    sandbox.crm.create("notes", {**copied, "id": 77})
    sandbox.crm.delete("notes", gone["id"])
    result = materialize(["notes"])
    assert result.success
    assert failed_checks(result) == []
    rows = by_id(lake, "notes")
    assert len(rows) == 21
    assert rows[changed["id"]]["subject"] == "changed"
    assert [key for key, row in rows.items() if row[DELETED_AT] is not None] == [gone["id"]]


def test_a_history_has_every_version(
    lake: LakeUnderTest, materialize: Materialize, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC__HISTORY", "true")
    materialize(["notes"])
    record = next(iter(sandbox.crm.records("notes")))
    sandbox.crm.update("notes", record["id"], subject="changed")
    result = materialize(["notes"])
    assert result.success
    assert failed_checks(result) == []
    versions = [row for row in lake.rows("crm", "notes_history") if row["id"] == record["id"]]
    assert sorted(row["_dlt_valid_to"] is None for row in versions) == [False, True]
    assert lake.tables("crm")["notes_history"] == 21


def test_only_what_changed_is_written(lake: LakeUnderTest, materialize: Materialize) -> None:
    materialize(["notes", "tasks"])
    materialize(["notes"])
    versions = {
        name: lake.table("crm", name).version() for name in ("notes", "tasks", "rejected_records", "_dlt_loads")
    }
    assert versions == {"notes": 1, "tasks": 0, "rejected_records": 0, "_dlt_loads": 1}


def test_the_record_of_a_load_is_published_after_its_tables(lake: LakeUnderTest, materialize: Materialize) -> None:
    materialize()
    folders = list((lake.path / "crm").iterdir())
    commits = {one.name: (one / "_delta_log" / f"{0:020}.json").stat().st_mtime_ns for one in folders}
    assert sorted(commits, key=lambda name: commits[name])[-4:] == [
        "resource_loads",
        "_dlt_version",
        "_dlt_pipeline_state",
        "_dlt_loads",
    ]


def test_a_load_that_was_killed_before_its_record_was_published_is_loaded_again(
    lake: LakeUnderTest, materialize: Materialize, sandbox: Sandbox
) -> None:
    materialize(["notes"])
    records = ["resource_loads", "_dlt_version", "_dlt_pipeline_state", "_dlt_loads"]
    for name in records:
        shutil.copytree(lake.path / "crm" / name, lake.path / "before" / name)
    changed, copied, gone, *_ = list(sandbox.crm.records("notes"))
    sandbox.crm.update("notes", changed["id"], subject="changed")
    sandbox.crm.create("notes", {**copied, "id": 77})
    sandbox.crm.delete("notes", gone["id"])
    materialize(["notes"])
    for name in records:  # the state in which such a run leaves the lake
        shutil.rmtree(lake.path / "crm" / name)
        (lake.path / "before" / name).rename(lake.path / "crm" / name)
    result = materialize(["notes"])
    assert result.success
    assert failed_checks(result) == []
    rows = by_id(lake, "notes")
    assert rows[changed["id"]]["subject"] == "changed"
    assert [key for key, row in rows.items() if row[DELETED_AT] is not None] == [gone["id"]]
    assert len(lake.rows("crm", "_dlt_loads")) == 2


def test_a_check_without_a_load_reads_the_lake_and_writes_nothing(
    lake: LakeUnderTest, materialize: Materialize, crm_assets: Command
) -> None:
    materialize(["notes"])
    table = lake.table("crm", "notes")
    rows = table.to_pyarrow_table()
    subject = rows.column_names.index("subject")
    changed = rows.set_column(subject, rows.field(subject), pa.array(["somebody else's"] * rows.num_rows))
    write_deltalake(table, changed, mode="overwrite")
    done = crm_assets("check", "notes", **lake.environment)
    assert "rows of notes changed" in " ".join((done.stdout + done.stderr).split())
    assert lake.table("crm", "notes").version() == 1


def test_doctor_and_status_read_the_record_of_the_lake(
    lake: LakeUnderTest, materialize: Materialize, crm_assets: Command
) -> None:
    materialize(["notes"])
    assert "filesystem, 1 loaded table in dataset crm" in " ".join(
        crm_assets("doctor", **lake.environment).stdout.split()
    )
    assert "notes" in crm_assets("status", **lake.environment).stdout


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SqlJobClientBase]:
    """A working copy without a table."""
    pipeline = dlt.pipeline(
        "crm", destination=duckdb_file(tmp_path / "w.duckdb"), dataset_name="crm", pipelines_dir=str(tmp_path)
    )
    with pipeline.destination_client() as opened:
        assert isinstance(opened, SqlJobClientBase)
        yield opened


def test_types_nulls_and_order_of_columns_survive(client: SqlJobClientBase, tmp_path: Path) -> None:
    sql, lake = client.sql_client, Lake(str(tmp_path / "lake"), {}, {})
    columns = (
        "z BIGINT NOT NULL, a VARCHAR, j JSON, t TIMESTAMP WITH TIME ZONE NOT NULL, n TIMESTAMP, m DECIMAL(38,9),"
        " b BOOLEAN, d DOUBLE, day DATE, raw BLOB, other JSON NOT NULL, i INTEGER"
    )
    nothing = copy_tables(lake, sql, [])
    sql.execute_sql("SET TimeZone = 'Asia/Kathmandu'")
    sql.execute_sql("CREATE SCHEMA crm")
    sql.execute_sql(f"CREATE TABLE crm.every_type ({columns})")
    sql.execute_sql(f"CREATE TABLE crm.no_rows ({columns})")
    moment = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    full = (2**63 - 1, "ü\n\x00", '{"a": [1, null]}', moment, moment.replace(tzinfo=None), Decimal("1.000000001"))
    more = (True, 0.1, date(1, 1, 1), b"\x00\xff", "[]", -1)
    sql.execute_sql(f"INSERT INTO crm.every_type VALUES ({', '.join(['%s'] * 12)})", *full, *more)
    nulls = (1, None, None, moment, None, None, None, None, None, None, "null", None)
    sql.execute_sql(f"INSERT INTO crm.every_type VALUES ({', '.join(['%s'] * 12)})", *nulls)
    described = sql.execute_sql("DESCRIBE crm.every_type")
    rows = sql.execute_sql("SELECT * FROM crm.every_type ORDER BY z")
    nothing.publish(sql, print)
    sql.execute_sql("DROP SCHEMA crm CASCADE")
    assert sorted(path.name for path in (tmp_path / "lake").iterdir()) == ["every_type", "no_rows"]
    copy_tables(lake, sql, ["every_type", "no_rows", "not_there"])
    assert sql.execute_sql("DESCRIBE crm.every_type") == described
    assert sql.execute_sql("DESCRIBE crm.no_rows") == described
    assert sql.execute_sql("SELECT * FROM crm.every_type ORDER BY z") == rows


def test_whoever_publishes_second_is_refused_and_writes_nothing(client: SqlJobClientBase, tmp_path: Path) -> None:
    sql, lake = client.sql_client, Lake(str(tmp_path / "lake"), {}, {})
    for name in ("contacts", "_dlt_loads"):
        write_deltalake(lake.table_address(name), pa.table({"id": [1]}))
    copied = copy_tables(lake, sql, ["contacts", "_dlt_loads", "notes"])
    for name in ("contacts", "_dlt_loads"):
        sql.execute_sql(f"INSERT INTO crm.{name} VALUES (2)")
    write_deltalake(lake.table_address("_dlt_loads"), pa.table({"id": [3]}), mode="append")
    with pytest.raises(
        WarehouseChanged, match=r"wrote to .*_dlt_loads while this run loaded\. Nothing was written"
    ) as one:
        copied.publish(sql, print)
    assert one.value.worth_retrying
    assert DeltaTable(lake.table_address("contacts")).version() == 0


def test_a_table_that_somebody_else_made_meanwhile_is_not_overwritten(client: SqlJobClientBase, tmp_path: Path) -> None:
    sql, lake = client.sql_client, Lake(str(tmp_path / "lake"), {}, {})
    copied = copy_tables(lake, sql, ["notes"])
    sql.execute_sql("CREATE SCHEMA crm")
    sql.execute_sql("CREATE TABLE crm.notes AS SELECT 1 AS id")
    write_deltalake(lake.table_address("notes"), pa.table({"id": [2]}))
    with pytest.raises(WarehouseChanged):
        copied.publish(sql, print)
    assert DeltaTable(lake.table_address("notes")).to_pyarrow_table().to_pylist() == [{"id": 2}]


def test_properties_of_a_table_stay_and_files_older_than_its_retention_go(
    client: SqlJobClientBase, tmp_path: Path
) -> None:
    sql, retention = client.sql_client, {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    lake = Lake(str(tmp_path / "lake"), {}, retention)
    sql.execute_sql("CREATE SCHEMA crm")
    sql.execute_sql("CREATE TABLE crm.notes AS SELECT 1 AS id")
    copied = copy_tables(lake, sql, [])
    sql.execute_sql("INSERT INTO crm.notes VALUES (2)")
    copied.publish(sql, pytest.fail)
    sql.execute_sql("DROP SCHEMA crm CASCADE")
    again = copy_tables(lake, sql, ["notes"])
    sql.execute_sql("INSERT INTO crm.notes VALUES (3)")
    again.publish(sql, pytest.fail)
    table = DeltaTable(lake.table_address("notes"))
    assert table.metadata().configuration == retention
    assert len(list((tmp_path / "lake" / "notes").glob("*.parquet"))) == len(table.file_uris())


def test_files_that_a_reader_may_still_need_stay_for_a_week(lake: LakeUnderTest, materialize: Materialize) -> None:
    materialize(["notes"])
    before = lake.table("crm", "notes")
    materialize(["notes"])
    assert lake.table("crm", "notes").version() == 1
    assert before.to_pyarrow_table().num_rows == 20


def test_a_second_run_on_this_machine_waits_and_then_is_told_who_has_the_lake(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "mine\n"
    waiting: list[str] = []
    account = an_account(data_dir=tmp_path)
    with pytest.raises(WarehouseLocked, match=f"^the lake was being loaded by process {holder.pid}") as caught:
        lake_lock(account, "the lake", lock_timeout=0, log=waiting.append).__enter__()
    assert caught.value.holder == f"process {holder.pid}"
    assert len(waiting) == 1
    holder.communicate()
    with lake_lock(account, "the lake", lock_timeout=0, log=pytest.fail):
        pass


def test_a_relative_folder_begins_in_the_folder_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLT_LOCAL_DIR", str(tmp_path))
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "data/my lake")
    found = find_lake(open_destination("filesystem", tmp_path), "crm")
    assert found
    assert found.table_address("notes") == str(tmp_path / "data" / "my lake" / "crm" / "notes")


def test_the_login_of_an_object_store_comes_from_the_settings_of_dlt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "s3://bucket/folder/")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__CREDENTIALS__AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__CREDENTIALS__AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(SettingError, match=r"destination\.filesystem cannot be used: .* requires AWS region"):
        open_destination("filesystem", tmp_path)
    monkeypatch.setenv("DESTINATION__FILESYSTEM__CREDENTIALS__REGION_NAME", "eu-central-1")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__DELTALAKE_STORAGE_OPTIONS", '{"aws_allow_http": "true"}')
    found = find_lake(open_destination("filesystem", tmp_path), "crm")
    assert found
    assert found.table_uri("notes") == "s3://bucket/folder/crm/notes"
    options = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region": "eu-central-1"}
    assert {**options, "aws_allow_http": "true"}.items() <= dict(found.storage_options).items()


def test_a_lake_without_an_address_is_told_before_the_crm_is_asked(crm_assets: Command, sandbox: Sandbox) -> None:
    done = crm_assets("sync", "notes", WAREHOUSE__DESTINATION="filesystem")
    assert done.returncode == 2
    assert "bucket_url not set under [destination.filesystem]" in " ".join(done.stderr.split())
    assert not sandbox.requests


def test_an_address_at_which_no_delta_table_can_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "memory://lake")
    with pytest.raises(SettingError, match=r"destination\.filesystem\.bucket_url is memory://lake"):
        open_destination("filesystem", tmp_path)


def test_without_deltalake_the_extra_that_brings_it_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['deltalake'] = None\n"
        "from pathlib import Path\n"
        "from crm_assets.load.warehouses.destination import open_destination\n"
        "open_destination('filesystem', Path('.'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "SettingError: warehouse.destination (WAREHOUSE__DESTINATION) is 'filesystem'" in done.stderr
    assert 'pip install "crm_assets[delta]"' in done.stderr


def test_a_lake_has_no_snapshot(lake: LakeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE__SNAPSHOT", "data/snapshot.duckdb")
    with pytest.raises(SettingError, match="'filesystem': only a DuckDB file can be copied"):
        snapshot_path(an_account())


def test_a_column_of_another_type_stops_its_table_alone_and_the_folder_to_move_away_is_named(
    lake: LakeUnderTest, materialize: Materialize
) -> None:
    materialize(["notes"])
    rows = lake.table("crm", "notes").to_pyarrow_table()
    subject = rows.column_names.index("subject")
    numbers = rows.set_column(subject, "subject", pa.array(range(20)))
    write_deltalake(lake.table("crm", "notes"), numbers, mode="overwrite", schema_mode="overwrite")
    said = failure_of(materialize(["notes", "tasks"]))
    assert "notes.subject is BIGINT and must be VARCHAR" in said
    assert f"Move the folder of the table, in {lake.path / 'crm'}, to another place, and the next run loads it" in said
    assert "ALTER" not in said
    assert lake.tables("crm")["tasks"] == 20
    (lake.path / "crm" / "notes").rename(lake.path / "notes")
    assert materialize(["notes"]).success
    assert lake.types("crm", "notes")["subject"] == "string"


def test_a_folder_that_cannot_be_written_is_named(lake: LakeUnderTest, materialize: Materialize) -> None:
    lake.path.write_text("no folder")
    said = failure_of(materialize(["notes"]))
    assert str(lake.path) in said
    assert "cannot be written" in said
