"""docs/warehouses.md is followed from top to bottom, with a Postgres of this test."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crm_assets_tests.documentation.checkout import Shell, bare_environment, copy_project, link_environment
from crm_assets_tests.documentation.markdown import blocks_of, steps_of
from crm_assets_tests.postgres import the_postgres

pytestmark = [pytest.mark.long, pytest.mark.thorough]
NOT_RUN = 'pip install "crm_assets[postgres]"'
"""It is in no index yet; the environment has the driver."""


def test_postgres_is_set_up_and_loaded_as_the_document_says(tmp_path: Path) -> None:
    server = the_postgres()
    server.execute("CREATE DATABASE warehouse")
    parts = urlsplit(server.address)
    folder = tmp_path / "project"
    copy_project(folder)
    link_environment(folder)
    shell = Shell(folder, bare_environment(tmp_path / "home"))
    for block in blocks_of("docs/warehouses.md"):
        if block.heading != "Postgres":
            continue
        match block.language:
            case "toml":
                file = folder / str(block.place)
                text = block.text.replace("port = 5432", f"port = {parts.port}").replace('"localhost"', '"127.0.0.1"')
                before = file.read_text() if file.exists() else ""
                file.touch(0o600)
                file.write_text(before.replace("[warehouse]\n", "[unused]\n") + text)
            case "sql":
                server.execute(block.text, parts._replace(path="/warehouse").geturl())
            case _:
                for step in steps_of(block):
                    if step.command != NOT_RUN:
                        printed = shell.run(step)
    assert "contacts" in printed
    counted = server.execute("SELECT count(*) FROM crm_sandbox.contacts", parts._replace(path="/warehouse").geturl())
    assert counted[0][0] > 1_000
    assert not (folder / "data" / "warehouse.duckdb").exists()
