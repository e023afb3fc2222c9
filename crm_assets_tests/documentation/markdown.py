"""What the documents show: fenced blocks, commands, tables, inline code and links, in the order in which they stand."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from textwrap import dedent

from crm_assets.project import ROOT

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r" *```(\w*)$")
_FILE = re.compile(r"`([\w./]+\.(?:toml|yaml|py))`")
_END = "\n\n"
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    document: str
    line: int
    heading: str
    language: str
    text: str
    place: str | None
    """The file in which it belongs: its first line says so, in a comment, or the paragraph before it does."""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Step:
    """One command of a block, and what the document says that it prints."""

    command: str
    sample: tuple[str, ...] = ()


def text_of(document: str) -> str:
    """Return the text of a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks_of(document: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document."""
    heading, paragraph, opened = "", "", None
    for number, line in enumerate(text_of(document).splitlines(), 1):
        fence = _FENCE.match(line)
        if opened and fence:
            text = dedent(opened.text)
            named = re.match(r"# ([\w./]+\.(?:toml|yaml|py))\n", text)
            files = _FILE.findall(paragraph)
            yield replace(opened, text=text, place=named[1] if named else files[-1] if files else None)
            opened, paragraph = None, ""
        elif opened:
            opened = replace(opened, text=f"{opened.text}{line}\n")
        elif fence:
            opened = Block(document, number, heading, fence[1], "", None)
        elif line.startswith("#"):
            heading, paragraph = line.lstrip("# "), ""
        elif line:
            paragraph = f"{'' if paragraph.endswith(_END) else paragraph}{line}\n"
        else:
            paragraph = f"{paragraph.rstrip()}{_END}"
    assert not opened, f"{document}: {opened} is not closed"


def steps_of(block: Block) -> list[Step]:
    """Return the commands of a console block."""
    steps: list[Step] = []
    command = ""
    for line in block.text.splitlines():
        if command:
            command = f"{command}\n{line}"
        elif line.startswith("$ "):
            command = line.removeprefix("$ ")
        elif steps:
            steps[-1] = replace(steps[-1], sample=(*steps[-1].sample, line))
        if command and _is_complete(command):
            steps.append(Step(command))
            command = ""
    assert steps, f"{block}: no command, which begins with `$ `"
    assert not command, f"{block}: {command!r} is not complete"
    return steps


def _is_complete(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def prose_of(document: str) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def inline_code_of(document: str) -> list[str]:
    """Return what stands between backticks."""
    return _INLINE.findall(prose_of(document))


def links_of(document: str) -> list[str]:
    """Return the addresses of links and pictures."""
    return [one or other for one, other in _LINK.findall(prose_of(document))]


def anchors_of(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables_of(document: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a document: rows of cells, the head first."""
    for table in re.findall(r"(?:^\|.*\|\n)+", prose_of(document), flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        yield [rows[0], *rows[2:]]
