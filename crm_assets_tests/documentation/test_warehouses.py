"""docs/warehouses.md is followed, with a Postgres of this test."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crm_assets_tests.documentation.checkout import Shell, bare_environment, copy_project, link_environment
from crm_assets_tests.documentation.markdown import Step, blocks_of, steps_of
from crm_assets_tests.postgres import the_postgres

pytestmark = [pytest.mark.long, pytest.mark.thorough]
NOT_RUN = ('pip install "crm_assets[postgres]"', 'pip install "crm_assets[delta]"')
"""It is in no index yet; the environment has the drivers."""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Somebody in a fresh copy of the project."""
    folder = tmp_path / "project"
    copy_project(folder)
    link_environment(folder)
    return Shell(folder, bare_environment(tmp_path / "home"))


def follow(heading: str, shell: Shell, instead: Mapping[str, str], sql: Callable[[str], object] = print) -> str:
    """Do what the section says, and return what the last command printed."""
    printed = ""
    for block in blocks_of("docs/warehouses.md"):
        if block.heading != heading:
            continue
        text = block.text
        for shown, meant in instead.items():
            text = text.replace(shown, meant)
        match block.language:
            case "toml":
                file = shell.folder / str(block.place)
                file.touch(0o600)
                file.write_text(file.read_text().replace("[warehouse]\n", "[unused]\n") + text)
            case "sql":
                sql(text)
            case "python":
                (shell.folder / "snippet.py").write_text(text)
                printed = shell.run(Step(".venv/bin/python snippet.py"))
            case _:
                for step in steps_of(block):
                    if step.command not in NOT_RUN:
                        printed = shell.run(step)
    assert not (shell.folder / "data" / "warehouse.duckdb").exists()
    return printed


def test_postgres_is_set_up_and_loaded_as_the_document_says(shell: Shell) -> None:
    server = the_postgres()
    server.execute("CREATE DATABASE warehouse")
    parts = urlsplit(server.address)
    warehouse = parts._replace(path="/warehouse").geturl()
    place = {"port = 5432": f"port = {parts.port}", '"localhost"': '"127.0.0.1"'}
    printed = follow("Postgres", shell, place, lambda sql: server.execute(sql, warehouse))
    assert "contacts" in printed
    assert server.execute("SELECT count(*) FROM crm_sandbox.contacts", warehouse)[0][0] > 1_000


def test_a_lake_is_set_up_loaded_and_read_as_the_document_says(shell: Shell) -> None:
    assert int(follow("A lake: Delta tables", shell, {})) > 1_000
