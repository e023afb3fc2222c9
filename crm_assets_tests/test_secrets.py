"""The login stands in no file that a run leaves behind, in no message and in no representation."""

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from crm_assets.sandbox.api import ApiName
from crm_assets.sandbox.faults import Fault
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import API_KEY, COMMAND, EMAIL

BASE64 = b64encode(f"{EMAIL}:{API_KEY}".encode())
FORMS = {
    "plain": API_KEY.encode(),
    "the e-mail": EMAIL.encode(),
    "escaped as in JSON": EMAIL.encode("ascii", "backslashreplace"),
    "in an address": quote(API_KEY, safe="").encode(),
    "in a query": quote_plus(API_KEY).encode(),
    "in base64": BASE64,
    "in base64, of the key alone": b64encode(API_KEY.encode()).rstrip(b"=")[:-1],
    "in base64, escaped": quote(BASE64.decode(), safe="").encode(),
}


def leaks(said: bytes, directory: Path) -> list[tuple[str, str]]:
    """Return where a form of the login stands: in what was said, or in a file of `directory`."""
    texts = {"the terminal": said} | {
        str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()
    }
    return [(form, where) for where, text in texts.items() for form, secret in FORMS.items() if secret in text]


REFUSING = [Fault("deals", "status", status=401), Fault("notes", "redirect", location="https://example.com/")]
ECHOING = [
    Fault("deals", "html", body=f"<h1>No user {EMAIL} with {API_KEY}</h1>"),
    Fault("notes", "error_envelope", body=f"bad credentials {BASE64.decode()} of {EMAIL}"),
    Fault("tasks", "html", body=json.dumps({"error": "x" * 90 + f" {API_KEY} of {EMAIL}"})),
    Fault("events", "redirect", location=f"https://example.com/{quote(API_KEY, safe='')}"),
    Fault("documents", "html", body=f"?key={quote_plus(API_KEY)} {b64encode(API_KEY.encode())!r}"),
    Fault("tickets", "html", body=json.dumps({"data": [{"id": 1, "cursor": API_KEY}]})),
]


@pytest.mark.parametrize(
    ("api", "faults"),
    [
        pytest.param("v1", [], marks=pytest.mark.thorough),
        pytest.param("v1", REFUSING, marks=pytest.mark.thorough),
        ("v1", ECHOING),
        pytest.param("agilecrm", [], marks=pytest.mark.thorough),
        pytest.param("agilecrm", ECHOING, marks=pytest.mark.thorough),
    ],
)
def test_no_file_that_a_run_leaves_behind_holds_the_login(
    settings: dict[str, str],
    sandbox: Sandbox,
    tmp_path: Path,
    api: ApiName,
    faults: list[Fault],
) -> None:
    for fault in faults:
        sandbox.fault(fault)
    done = subprocess.run(
        [COMMAND, "sync", *(dict.fromkeys(fault.resource for fault in faults) or ["deals", "notes"])],
        env=settings | {"SOURCES__CRM__API": api, "HOME": str(tmp_path), "RUNTIME__LOG_LEVEL": "DEBUG"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == (0 if not faults else done.returncode)
    assert (tmp_path / "data" / "warehouse.duckdb").exists() or faults
    assert len(list(tmp_path.rglob("*"))) > 10
    assert leaks(done.stdout + done.stderr, tmp_path) == []


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    for form, secret in FORMS.items():
        (tmp_path / "file").write_bytes(b"before " + secret + b" after")
        assert form in [found for found, _ in leaks(b"", tmp_path)]
