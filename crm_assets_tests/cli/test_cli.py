"""The `crm-assets` command as a script sees it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from socket import socket

import dagster as dg
import duckdb
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from crm_assets.cli.dev import AUTOMATION_OFF
from crm_assets.orchestration.run_history import last_loads
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import COMMAND, RESOURCES, SMALL, Command, an_account, history_in
from crm_assets_tests.programs import free_port


@pytest.fixture
def process(settings: dict[str, str], tmp_path: Path) -> Command:
    """Command `crm-assets` in a process of its own, as a shell does."""

    def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *arguments], env=settings | changes, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_sync_loads_everything_and_ends_with_a_line_per_table(process: Command, tmp_path: Path) -> None:
    done = process("sync")
    assert done.returncode == 0, done.stderr
    tables, _, checks = done.stdout.partition("\n\n")
    where, *others = tables.splitlines()
    # Where the machine is busy, there are lines of progress before the table.
    table = others[next(place for place, line in enumerate(others) if line.startswith("resource ")) :]
    assert re.fullmatch(r"crm: http://127\.0\.0\.1:\d+ → duckdb, dataset crm", where)
    assert max(map(len, table)) <= 80
    head, *lines = map(str.split, table)
    assert checks.startswith("Checks: ")
    assert " 0 errors." in checks
    assert head == ["resource", "rows", "new", "changed", "deleted", "rejected", "seconds"]
    assert {line[0]: int(line[1]) for line in lines} == {line[0]: int(line[2]) for line in lines} == SMALL
    with duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb")) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM crm.contacts").fetchall() == [(250,)]
    assert "\x1b" not in done.stdout + done.stderr


def test_sync_says_what_is_new_and_what_was_deleted(crm_assets: Command, sandbox: Sandbox) -> None:
    assert crm_assets("sync", "notes").returncode == 0
    first, second, *_ = [record["id"] for record in sandbox.crm.records("notes")]
    sandbox.crm.delete("notes", first)
    sandbox.crm.update("notes", second, subject="Changed")
    for number in range(3):
        sandbox.crm.create("notes", {"id": 70 + number})
    notes = crm_assets("sync", "notes").stdout.splitlines()[2].split()
    assert notes[:5] == ["notes", str(SMALL["notes"] + 3), "3", "1", "1"]


def test_bars_move_within_a_second_in_a_terminal_and_ctrl_c_says_what_is_kept(
    sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    held = sandbox.fault(Fault("deals", "hang", after=1))
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "sync", "deals", "notes"],
        env=settings | {"TERM": "xterm", "COLUMNS": "80"},
        cwd=tmp_path,
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
    ) as process:
        os.close(other_end)
        seen = ""
        while not re.search(r"deals +100 records +1 pages", seen):
            seen += os.read(terminal, 65_536).decode()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        with suppress(OSError):  # so ends a terminal whose process has ended
            while more := os.read(terminal, 65_536):
                seen += more.decode()
    held.release.set()
    os.close(terminal)
    assert process.returncode == 130
    assert "starting" in seen
    assert re.search(r"total +120 records +2 pages", seen)
    said = seen.replace("\r\n", "\n")
    assert "What was read of deals is kept: the next sync resumes it.\n" in said
    assert "Cancelled." in said
    assert "Traceback" not in said


def test_quiet_prints_only_what_is_wrong(crm_assets: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    done = crm_assets("sync", "notes", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb")) as warehouse:
        warehouse.execute("UPDATE crm.notes SET subject = 'Made up'")
    done = crm_assets("check", "notes", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unchanged" in done.stderr
    assert "unique_id" not in done.stderr
    sandbox.fault(Fault("notes", "html"))
    done = crm_assets("sync", "notes", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert "notes: HTTP 200 with an HTML page" in done.stderr


def test_verbose_prints_what_dlt_and_dagster_log(process: Command) -> None:
    done = process("sync", "milestone", "-v")
    assert done.returncode == 0
    assert "|dlt|" in done.stderr
    assert "STEP_SUCCESS" in done.stderr


HOSTILE = (
    "[/][link=http://evil.example]a[/link]\x1b[2J\x1b]8;;http://evil.example\x1b\\"
    "![b](http://evil.example/c.png)<script>\n| d"
)
"""A field's name that commands whoever shows it."""


def test_what_the_crm_says_is_text_wherever_it_is_shown(
    crm_assets: Command, process: Command, sandbox: Sandbox
) -> None:
    assert crm_assets("sync", "notes").returncode == 0
    sandbox.crm.create("notes", {"id": 1, HOSTILE: 1})
    in_a_terminal = process("sync", "notes", FORCE_COLOR="1")
    assert in_a_terminal.returncode == 0, in_a_terminal.stderr
    reports = {form: crm_assets("report", "notes", "--format", form).stdout for form in ("terminal", "markdown")}
    for shown in (in_a_terminal.stdout, crm_assets("status", "notes").stdout, *reports.values()):
        assert "\x1b[2J" not in shown
        assert "\x1b]8" not in shown
    assert "[/][link=http" in "".join(in_a_terminal.stdout.split())
    assert "\\x1b[2J" in reports["terminal"]
    [line] = [line for line in reports["markdown"].splitlines() if "evil.example" in line]
    assert "<script>" not in line
    assert "![" not in line
    assert line.count(" | ") == 4


def test_json_is_all_that_stands_on_standard_output(crm_assets: Command, sandbox: Sandbox) -> None:
    sandbox.fault(Fault("notes", "html"))
    done = crm_assets("sync", "deals", "notes", "--json")
    (crm,) = json.loads(done.stdout)["accounts"]
    assert done.returncode == 1
    assert (crm["account"], crm["dataset"], crm["ok"]) == ("crm", "crm", False)
    assert "notes: HTTP 200 with an HTML page" in crm["problem"]
    assert [(one["resource"], one["rows"], one["new"]) for one in crm["loaded"]] == [("deals", 120, 120)]
    assert {one["outcome"] for one in crm["checks"]} == {"passed"}
    (checked,) = json.loads(crm_assets("check", "deals", "--json").stdout)["accounts"]
    assert (checked["loaded"], checked["ok"]) == ([], True)
    sandbox.fault(Fault("deals", "status"))
    (answers,) = json.loads(crm_assets("ping", "--json").stdout)["accounts"]
    assert not answers["ok"]
    assert [one["resource"] for one in answers["resources"] if not one["ok"]] == ["deals", "notes"]


def test_sync_loads_only_what_is_named(crm_assets: Command) -> None:
    done = crm_assets("sync", "deals", "notes")
    tables, _, checks = done.stdout.partition("\n\n")
    assert [line.split()[0] for line in tables.splitlines()] == ["crm:", "resource", "deals", "notes"]
    assert checks.startswith("Checks: ")


@pytest.mark.parametrize(
    ("arguments", "changes", "fault", "code", "words"),
    [
        (["sync", "leads"], {}, None, 2, "Unknown resource: leads. Known: contacts"),
        (["sync"], {"SOURCES__CRM__BASE_URL": "api.example.com"}, None, 2, "sources.crm.base_url cannot be used"),
        (["sync"], {"SOURCES__CRM__API_KEY": "wr0ng"}, None, 3, "sources.crm.api_key"),
        (["sync", "deals", "notes"], {}, Fault("deals", "html"), 1, "deals: HTTP 200 with an HTML page"),
        (["ping"], {"SOURCES__CRM__API_KEY": "wr0ng"}, None, 3, "sources.crm.api_key"),
        (["ping"], {}, Fault("deals", "status"), 4, "HTTP 503"),
        (["ping"], {"SOURCES__CRM__BASE_URL": "http://127.0.0.1:1"}, None, 4, "Connection refused"),
        (["sync", "--nonsense"], {}, None, 2, "No such option"),
    ],
)
def test_a_fault_has_its_exit_code_and_a_message_for_the_one_who_must_act(
    crm_assets: Command,
    sandbox: Sandbox,
    arguments: list[str],
    changes: dict[str, str],
    fault: Fault | None,
    code: int,
    words: str,
) -> None:
    if fault:
        sandbox.fault(fault)
    done = crm_assets(*arguments, **changes)
    assert words in (done.stdout if arguments == ["ping"] and code == 4 else done.stderr)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "wr0ng" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "words"),
    [
        (["sync", "deals"], {"CHECKS__REJECTED_SHARE": "5"}, 2, "checks.rejected_share cannot be used"),
        (["sync", "deals"], {"WAREHOUSE__DESTINATION": "foo"}, 2, "dlt knows no destination 'foo'"),
        (["sync", "deals"], {"DAGSTER_HOME": "/nowhere"}, 2, "DAGSTER_HOME is '/nowhere', which is not"),
        (["status"], {"DAGSTER_HOME": "here"}, 2, "DAGSTER_HOME is 'here', which is not"),
        (
            ["report", "--output", "/nowhere/report.html", "--format", "html"],
            {},
            6,
            "/nowhere/report.html: No such file",
        ),
    ],
)
def test_what_cannot_work_is_said_in_a_line_before_anything_is_loaded(
    crm_assets: Command, tmp_path: Path, arguments: list[str], changes: dict[str, str], code: int, words: str
) -> None:
    done = crm_assets(*arguments, **changes)
    assert done.returncode == code
    assert words in done.stderr
    assert not (tmp_path / "data" / "warehouse.duckdb").exists()


def test_a_settings_file_that_is_no_toml_is_named(process: Command, tmp_path: Path) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "secrets.toml").write_text("[sources.crm\napi_key =")
    done = process("ping", DLT_PROJECT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}/.dlt/secrets.toml" in done.stderr
    assert "it is not valid TOML" in done.stderr


def test_sync_names_the_process_that_has_the_warehouse_open(process: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb")):
        done = process("sync", "notes", WAREHOUSE__LOCK_TIMEOUT="0")
    assert done.returncode == 5
    assert "warehouse.lock_timeout" in done.stderr


def test_ping_shows_what_each_resource_answered(crm_assets: Command, sandbox: Sandbox) -> None:
    done = crm_assets("ping")
    assert done.returncode == 0
    answers, observed = (part.splitlines() for part in done.stdout.split("\n\n"))
    where, _, *lines = answers
    assert where == f"crm: {sandbox.base_url} → duckdb, dataset crm"
    first_page = {name: min(count, 100) if RESOURCES[name].has_pages else count for name, count in SMALL.items()}
    assert {line.split()[0]: line.split()[1:3] for line in lines} == {
        name: ["ok", str(count)] for name, count in first_page.items()
    }
    _, *seen, types = observed
    assert {line.split()[0]: line.split()[1] for line in seen} == {name: str(n) for name, n in first_page.items()}
    assert types == "Content type of all: application/json"
    assert set(sandbox.requests.values()) == {1}


def test_ping_says_that_each_run_lists_everything_where_the_crm_does_not_say_what_is_new(
    crm_assets: Command, sandbox: Sandbox
) -> None:
    sandbox.fault("deals=500@1")
    done = crm_assets("ping", "--json", SOURCES__CRM__API="agilecrm")
    assert done.returncode == 0
    (answers,) = json.loads(done.stdout)["accounts"]
    deals = next(one for one in answers["resources"] if one["resource"] == "deals")
    assert deals["ok"]
    assert deals["observed"] == [
        {
            "request": None,
            "content_type": "application/json",
            "facts": [
                *("100 records", "another page follows", "no number in count"),
                *("cursor on the last record", "count on every record"),
            ],
        },
        {"request": "what is new", "content_type": None, "facts": ["HTTP 500, so each run lists everything"]},
    ]


def test_an_interrupted_sync_ends_promptly_says_so_and_leaves_the_warehouse_as_it_was(
    sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    asked = sandbox.fault(Fault("notes", "hang"))
    with subprocess.Popen(
        [COMMAND, "sync"], env=settings, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()  # which account
        process.stdout.readline()  # progress of the listing that hangs: the others are read
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    asked.release.set()
    assert process.returncode == 130
    assert "Cancelled" in said
    assert not (tmp_path / "data" / "warehouse.duckdb").exists()
    assert not list((tmp_path / "data" / "runs").iterdir())
    with history_in(settings["DAGSTER_HOME"]) as instance:
        assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])) == 1
        endings = {load.ending for load in last_loads(instance, an_account()).values()}
        assert endings == {"unknown"}  # who ended it needs no message


def test_help_names_the_commands_and_the_exit_codes_without_importing_dagster(crm_assets: Command) -> None:
    done = crm_assets("--help")
    for word in ("sync", "ping", "sandbox", "dev", "130"):
        assert word in done.stdout
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, crm_assets.cli.main; print('dagster' in sys.modules, 'dlt' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stdout.split() == ["False", "False"]


def test_the_version_is_that_of_the_packages(crm_assets: Command) -> None:
    done = crm_assets("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"crm_assets \S+, dlt \S+, dagster \S+\n", done.stdout)


def test_a_port_that_is_taken_is_one_line(process: Command) -> None:
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = process("dev", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == (
        f"Port {port} of 127.0.0.1 cannot be used: Address already in use. "
        f"Take another: crm-assets dev --port {port + 1}\n"
    )


def test_as_shipped_sync_starts_the_sandbox_and_fills_its_own_dataset(crm_assets: Command, tmp_path: Path) -> None:
    done = crm_assets("sync", "milestone", "campaigns", SOURCES__CRM__BASE_URL="sandbox", SANDBOX__PORT="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("crm: the sandbox CRM → duckdb, dataset crm_sandbox\n")


@pytest.mark.long
def test_dev_opens_the_ui_beside_the_sandbox_and_ends_whole_on_sigterm(
    settings: dict[str, str], tmp_path: Path
) -> None:
    ui, crm = free_port(), free_port()
    as_in_the_background = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # a shell leaves SIGINT ignored there
    with subprocess.Popen(
        [*as_in_the_background, COMMAND, "dev", "--port", str(ui)],
        env=settings | {"SOURCES__CRM__BASE_URL": "sandbox", "SANDBOX__PORT": str(crm)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            said = list(takewhile(lambda line: "Serving dagster-webserver" not in line, process.stdout))
            assert f"crm: CRM at http://127.0.0.1:{crm}\n" in said
            assert f"Dagster at http://127.0.0.1:{ui}\n" in said
            assert f"{AUTOMATION_OFF}\n" in said
            assert requests.get(f"http://127.0.0.1:{crm}/", timeout=10).headers["Server"] == "crm-assets-sandbox"
            with requests.Session() as session:  # it says so just before it listens
                session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.1)))
                assert session.get(f"http://127.0.0.1:{ui}/server_info", timeout=10).status_code == 200
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{crm}/", timeout=1)


def test_a_setting_that_the_code_location_needs_is_named_by_every_command_that_loads_it(process: Command) -> None:
    done = process("sync", AUTOMATION__TIMEZONE="Mars/Olympus")
    assert done.returncode == 2
    assert done.stderr.startswith("automation.timezone cannot be used: 'Mars/Olympus' is not a time zone")


def test_an_account_whose_api_has_an_error_is_told_and_the_others_are_asked(
    crm_assets: Command, tmp_path: Path
) -> None:
    (tmp_path / "shop.yaml").write_text("client: {}\nresources: [{name: a, endpoint: {pth: x}}]\n")
    shop = {"SOURCES__SHOP__API": str(tmp_path / "shop.yaml")}
    done = crm_assets("ping", ACCOUNTS="crm,shop", **shop)
    assert done.returncode == 2
    assert "shop.yaml: resources.a.endpoint.pth: unknown word; did you mean `path`?" in done.stderr
    assert "contacts" in done.stdout
    alone = crm_assets("ping", "--account", "shop", ACCOUNTS="crm,shop", **shop)
    assert (alone.returncode, alone.stdout) == (2, "")
