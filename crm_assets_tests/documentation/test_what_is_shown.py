"""Every fenced block of the documents works, in the order in which it stands, in a fresh copy with an empty home."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import duckdb
import pytest
import tomlkit
import yaml
from _pytest.mark import ParameterSet

from crm_assets.project import DAGSTER_HOME, ROOT
from crm_assets.sandbox.server import Sandbox
from crm_assets.settings import AccountSettings, Settings
from crm_assets_tests.conftest import API_KEY, EMAIL, SMALL
from crm_assets_tests.documentation.checkout import (
    Shell,
    bare_environment,
    copy_project,
    link_environment,
    link_packages,
)
from crm_assets_tests.documentation.markdown import DOCUMENTS, Block, Step, blocks_of, inline_code_of, steps_of
from crm_assets_tests.programs import free_port
from crm_assets_tests.test_mounted import HOST

pytestmark = pytest.mark.long

NOT_RUN = {"pip install crm_assets": "it is in no index yet; test_mounted.py installs the wheel"}
"""Commands that cannot run here, and why."""
COSTLY = {"make lint": "a minute for what CI runs anyway"}
"""Commands that run in `make docs` only, and why."""
ALWAYS = ["docs/automation.md"]
"""The documents that are followed in `make test`; the others take minutes, and are followed in `make docs` only."""
ELSEWHERE = ["docs/apis.md", "docs/deploy.md", "docs/scale.md", "docs/warehouses.md"]
"""The documents that have tests of their own: `test_apis.py`, `test_warehouses.py`, and those of `deploy/`."""
SET_UP = ["README.md", "CONTRIBUTING.md"]
"""The documents that say how to set up."""
BEFORE = {
    "docs/accounts.md": ["make sync"],
    "docs/checks.md": ["make sync"],
    "docs/operations.md": ["make sync"],
    "docs/reliability.md": ["SYNC__DEALS__HISTORY=true make sync"],
}
"""What a reader of a document has done before."""
REFERRED = {"email", "api_key", "token", "domain", "events_start", "events_span_days"}
"""What the examples set for the configuration of an API, and no setting of ours is."""
ONE_TEST = "crm_assets_tests/models/test_values.py"
"""What `make test` runs within these tests: all of them would run themselves."""
TESTS_OF_A_RESOURCE = [
    *("crm_assets_tests/apis", "crm_assets_tests/models", "crm_assets_tests/orchestration/test_jobs.py"),
    *("crm_assets_tests/orchestration/test_assets.py", "crm_assets_tests/sandbox"),
]
"""The tests that look at all resources."""


class Reader:
    """Somebody who does what a document says, block after block."""

    def __init__(self, shell: Shell, *, patient: bool) -> None:
        self.shell = shell
        self.patient = patient

    def follow(self, block: Block) -> None:
        """Do what `block` says."""
        text = self.shell.adapted(block.text)
        match block.language:
            case "console":
                for step in steps_of(block):
                    self._type(step)
            case "toml":
                self._set(block.place or ".dlt/config.toml", text)
            case "yaml" if block.place == "accounts.yaml":
                (self.shell.folder / block.place).write_text(text)
            case "yaml" if block.place == "dagster.yaml":
                yaml.safe_load(text)
            case "yaml":
                [file] = self.shell.folder.rglob(block.place or "")
                file.write_text(text)
                assert "validated successfully" in self.shell.run(Step("dg check yaml"))
            case "python" if block.place:
                self._paste(self.shell.folder / block.place, text)
            case "python":
                (self.shell.folder / "snippet.py").write_text(text)
                self.shell.run(Step(f"{self._python()} snippet.py"))
            case "sql":
                with duckdb.connect(str(self.shell.folder / "data" / "warehouse.duckdb"), read_only=True) as connection:
                    connection.execute(text.replace("crm.", "crm_sandbox."))
            case "json":
                # Tables can be stale only where schedules run.
                report = Step("AUTOMATION__ENABLED=true .venv/bin/crm-assets report --format json")
                found = json.loads(self.shell.run(report))
                assert _shape(json.loads(text)) <= _shape(found)
            case language:
                assert not language, f"{block}: nothing checks a block of {language}"
        self._fill_in()

    def _type(self, step: Step) -> None:
        if step.command in NOT_RUN or (not self.patient and step.command.partition("#")[0].strip() in COSTLY):
            return
        self.shell.run(step, **({"PYTEST_ADDOPTS": ONE_TEST} if step.command.startswith("make test") else {}))

    def _python(self) -> str:
        return ".venv/bin/python" if (self.shell.folder / ".venv").exists() else "python"

    def _set(self, file: str, text: str) -> None:
        """Put settings into a file, beside those that it has."""
        added = tomlkit.parse(text)
        _validate(added.unwrap())
        path = self.shell.folder / file
        path.parent.mkdir(exist_ok=True)
        document = tomlkit.parse(path.read_text() if path.exists() else "")
        path.write_text(tomlkit.dumps(_merged(document.unwrap(), added.unwrap())))

    def _paste(self, file: Path, text: str) -> None:
        """Write a new file, or add a row at the end of the list of resources."""
        if file.exists():
            before, end, after = file.read_text().rpartition("    ],\n")
            text = f"{before}{indent(text, ' ' * 8)}{end}{after}"
        file.write_text(text)

    def _fill_in(self) -> None:
        """Put the reader's own address and login in the place of what the examples have."""
        for file in (self.shell.folder / ".dlt").glob("*.toml"):
            file.write_text(self.shell.adapted(file.read_text()))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merged(old[name], new[name]) for name in old.keys() & new.keys() if isinstance(new[name], dict)}
    return {**old, **new, **both}


def _validate(sections: dict[str, Any]) -> None:
    """Check that every setting is one of ours, and has a value that can be used."""
    classes = {one.section: one for one in Settings.__subclasses__() if hasattr(one, "section")}
    for name, values in sections.items():
        if name == "sources":
            for account in values.values():
                AccountSettings(**{key: value for key, value in account.items() if key not in REFERRED})
        elif name != "accounts":
            classes[name](**values)


def _shape(value: Any, where: str = "") -> set[str]:
    """Return the paths of all keys in a JSON value; what is in a list counts once."""
    if isinstance(value, list):
        return {path for one in value for path in _shape(one, where)}
    if isinstance(value, dict) and not where.endswith(("metadata", "failed_rows")):
        return {path for key, one in value.items() for path in (f"{where}.{key}", *_shape(one, f"{where}.{key}"))}
    return set()


@pytest.fixture
def crm() -> Iterator[Sandbox]:
    """The reader's own CRM."""
    with Sandbox(SMALL, email=EMAIL, api_key=API_KEY) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, crm: Sandbox) -> Shell:
    """A shell in a fresh copy."""
    copy_project(tmp_path / "crm_assets")
    variables = bare_environment(tmp_path / "home")
    instead = {
        "https://api.example.com": crm.base_url,
        'domain = "acme"': f'base_url = "{crm.base_url}"',
        "you@example.com": EMAIL,
        "your API key": API_KEY,
        "-p 3000": f"-p {free_port()}",
    }
    return Shell(tmp_path / "crm_assets", variables, instead)


def _cases() -> Iterator[ParameterSet]:
    """Yield each document, and what makes its environment: `make`, from PyPI, or a link to this one, which is quick."""
    for document in DOCUMENTS:
        if document not in ("docs/accounts.md", *ELSEWHERE) and any(block.language for block in blocks_of(document)):
            marks = () if document in ALWAYS else (pytest.mark.thorough,)
            yield pytest.param(document, "made" if document in SET_UP else "linked", marks=marks)


@pytest.mark.parametrize(("document", "environment"), [*_cases()])
def test_a_document_does_what_it_shows(document: str, environment: str, shell: Shell, crm: Sandbox) -> None:
    if environment == "linked":
        link_environment(shell.folder)
    reader = Reader(shell, patient=environment == "made")
    for command in BEFORE.get(document, ()):
        shell.run(Step(command))
    for block in blocks_of(document):
        reader.follow(block)
    if document == "README.md":
        assert sum(crm.requests.values()) > 0
        queries = [code for code in inline_code_of(document) if code.startswith("SELECT ") and "..." not in code]
        with duckdb.connect(str(shell.folder / "data" / "warehouse.duckdb"), read_only=True) as connection:
            assert all(connection.execute(query).fetchall() for query in queries)
        listed = shell.run(Step(".venv/bin/dagster asset list -m crm_assets.definitions"))
        assert "crm/products" in listed.split()
        shell.run(Step(".venv/bin/ruff check crm_assets && .venv/bin/ruff format --check crm_assets"))
        if reader.patient:
            (shell.folder / ".dlt" / "secrets.toml").unlink()  # the tests are about the settings as shipped
            shutil.copy(ROOT / ".dlt" / "config.toml", shell.folder / ".dlt")
            shell.run(Step(f".venv/bin/python -m pytest -n 0 {' '.join(TESTS_OF_A_RESOURCE)}"))


@pytest.mark.thorough
def test_accounts_are_mounted_and_added_as_the_document_shows(tmp_path: Path, shell: Shell) -> None:
    mounted, alone = "Mount it in the Dagster deployment that you have", "Several accounts in the stand-alone project"
    many = "Dozens, hundreds, thousands of accounts"
    host = tmp_path / "deployment"
    for name in ("pyproject.toml", "host/__init__.py", "host/defs/__init__.py", "host/definitions.py"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text(HOST[name])
    link_environment(shell.folder)
    link_packages(host / ".venv", shell.folder)
    for command in ("dagster", "dg"):
        shutil.copy(shell.folder / ".venv" / "bin" / command, host / ".venv" / "bin")
    path = f"{shell.folder}/.venv/bin:{shell.variables['PATH']}"
    inside = Reader(Shell(host, shell.variables | {"PATH": path}, shell.instead), patient=False)
    blocks = list(blocks_of("docs/accounts.md"))
    for block in blocks:
        if block.heading == mounted:
            inside.follow(block)
    listed = inside.shell.run(Step("dagster asset list -m host.definitions"))
    assert listed.split()[-3:] == ["acme/contacts", "acme/deals", "own"]
    shutil.copy(host / ".dlt" / "secrets.toml", shell.folder / ".dlt")
    outside = Reader(shell, patient=False)
    for command in BEFORE["docs/accounts.md"]:
        shell.run(Step(command))
    for block in blocks:
        if block.heading == alone:
            outside.follow(block)
    # A reader with many accounts has loaded none of them yet.
    shutil.copy(ROOT / ".dlt" / "config.toml", shell.folder / ".dlt")
    (tmp_path / "new").mkdir()
    shutil.copy(DAGSTER_HOME / "dagster.yaml", tmp_path / "new")
    shell.variables["DAGSTER_HOME"] = str(tmp_path / "new")
    for block in blocks:
        if block.heading == many:
            outside.follow(block)
    assert {block.heading for block in blocks} == {mounted, alone, many}


def test_what_is_not_run_is_still_shown() -> None:
    shown = {
        step.command.partition("#")[0].strip()
        for document in DOCUMENTS
        for block in blocks_of(document)
        if block.language == "console"
        for step in steps_of(block)
    }
    assert {*NOT_RUN, *COSTLY} <= shown
