"""What the documents say of settings, commands and places is what the program knows."""

import re
import tomllib
from typing import Any

import pytest
import typer.main

from crm_assets.cli.main import app
from crm_assets.project import ROOT
from crm_assets.settings import (
    AccountSettings,
    AlertSettings,
    AutomationSettings,
    CheckSettings,
    SandboxSettings,
    Settings,
    SyncSettings,
    WarehouseSettings,
)
from crm_assets_tests.documentation.markdown import (
    DOCUMENTS,
    anchors_of,
    inline_code_of,
    links_of,
    tables_of,
    text_of,
)

SECTIONS: list[type[Settings]] = [
    AccountSettings,
    *(WarehouseSettings, SyncSettings, CheckSettings, SandboxSettings, AutomationSettings, AlertSettings),
]
OTHERS = {
    *("accounts", "slice", "destination.duckdb.credentials", "sources.crm.email", "sources.crm.api_key"),
    *("sources.crm.domain", "sources.crm.events_start", "sources.crm.events_span_days"),
}
"""Settings that are described, and that no class of ours has: dlt's, and what the APIs that come along refer to."""
IN_WORDS = {
    "sources.crm.cadences": "the API's",
    "sources.crm.concurrency": "the API's, else 8",
    "sources.crm.data_dir": "`data/`",
    "sources.crm.key_prefix": "the account's name",
    "sources.crm.page_size": "the API's limit",
    "sources.crm.requests_per_second": "the API's, else no limit",
    "sources.crm.resources": "all",
    "automation.watch": "each that is one listing",
}
"""What holds where a setting is not set."""


def settings() -> dict[str, Any]:
    """Return the default of each setting, None for one that has none."""
    return {
        f"{'sources.crm' if section is AccountSettings else section.section}.{name}": None
        if field.is_required()
        else field.default
        for section in SECTIONS
        for name, field in section.model_fields.items()
    }


def rows() -> list[tuple[str, str, str, str]]:
    """Return what the documents say of each setting: document, name, variable, default."""
    found = []
    for document in DOCUMENTS:
        for head, *table in tables_of(document):
            if head[:3] == ["setting", "variable", "default"]:
                for names, variable, defaults, *_ in table:
                    several = names.split(", ")
                    split = defaults.split(", ") if len(several) > 1 else [defaults]
                    found += [
                        (document, name.strip("`"), variable.strip("`"), default)
                        for name, default in zip(several, split, strict="*" not in names)
                        if "*" not in name
                    ]
    return found


def as_written(default: Any) -> str:
    """Return a default as a table has it."""
    match default:
        case None | () | {}:
            return ""
        case tuple():
            return f"`{', '.join(default)}`"
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float():
            return f"{default:g}" if default < 1 else f"{default:.0f}"
    return f"`{default}`"


def test_every_setting_is_in_a_table() -> None:
    assert {name for _, name, _, _ in rows()} == settings().keys() | OTHERS


@pytest.mark.parametrize(("document", "name", "variable", "default"), [row for row in rows() if row[1] not in OTHERS])
def test_a_table_of_settings_says_what_holds(document: str, name: str, variable: str, default: str) -> None:
    assert document
    assert variable in (name.upper().replace(".", "__"), f"{name.partition('.')[0].upper()}__...")
    shipped: Any = tomllib.loads((ROOT / ".dlt" / "config.toml").read_text())
    for part in name.split("."):
        shipped = shipped.get(part) if isinstance(shipped, dict) else None
    if default.endswith(", in `.dlt/config.toml`"):
        assert default.partition(",")[0] == as_written(shipped)
    else:
        assert default == IN_WORDS.get(name, as_written(settings().get(name)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_link_leads_somewhere(document: str) -> None:
    for link in links_of(document):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(str(target.resolve().relative_to(ROOT))), link


def commands() -> list[str]:
    """Return the commands that stand in sentences."""
    pattern = r"(\w+=\S+ )*(make|(\.venv/bin/)?crm-assets) [a-z]"
    return sorted({code for document in DOCUMENTS for code in inline_code_of(document) if re.match(pattern, code)})


@pytest.mark.parametrize("command", commands())
def test_a_command_in_a_sentence_exists(command: str) -> None:
    words = re.sub(r"^(\w+=\S+ )+", "", command).split()
    program, *rest = words
    if program == "make":
        makefile = text_of("Makefile")
        for word in rest:
            name, _, value = word.partition("=")
            assert re.search(rf"^{name}{' ?.?=' if value else ':'}", makefile, flags=re.MULTILINE), word
        return
    known = typer.main.get_command(app).commands[rest[0]]  # type: ignore[attr-defined]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options
