"""The tables in the metadata of a check: Dagster's own since it has them there, Markdown in older histories."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from crm_assets.text import markdown_text

_BORDER = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-+:?")


@dataclass(frozen=True)
class Table:
    """A small table of text. Each row has as many cells as the head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)


def table_of(value: Any) -> Table | None:
    """Return the table that the value of a metadata entry is: Dagster's, or one in Markdown; None for anything else."""
    if isinstance(value, dg.TableMetadataValue):
        head = [column.name for column in value.schema.columns]
        return Table(head, [[_text(record.data.get(name)) for name in head] for record in value.records])
    return _of_markdown(value) if isinstance(value, str) else None


def _of_markdown(text: str) -> Table | None:
    head, *others = [_cells(line) for line in _lines(text)] or [[]]
    if not others or len(others[0]) != len(head) or not all(map(_RULE.fullmatch, others[0])):
        return None
    return Table(head, [[*row, *[""] * len(head)][: len(head)] for row in others[1:]])


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a table. One that begins with no border continues a cell that has a line break."""
    found = ""
    for line in text.strip().splitlines():
        if found and line.lstrip().startswith("|"):
            yield found
            found = line
        else:
            found = f"{found}\n{line}" if found else line
    if found:
        yield found


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in _BORDER.split(inner)]


def _text(value: Any) -> str:
    return "NULL" if value is None else str(value)
