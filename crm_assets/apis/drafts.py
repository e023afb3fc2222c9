"""A row and a model for a new resource, written from what its first page holds, to be edited."""

import ast
import keyword
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

import yaml

from crm_assets.errors import ApiConfigError
from crm_assets.models.kinds import kind_of, least_type
from crm_assets.models.record import BaseRecord
from crm_assets.models.values import DataTypeName, json_text

_ALIASES: Mapping[DataTypeName, str] = {
    "bigint": "BigInt",
    "double": "Double",
    "bool": "Bool",
    "text": "Text",
    "timestamp": "Timestamp",
    "json": "Json",
}
_EXAMPLE = 40
"""Characters of an example at the most."""


def model_source(name: str, records: Sequence[Mapping[str, Any]], key: Sequence[str]) -> str:
    """Return the Python source of a model of `records`.

    Args:
        name: name of the class.
        records: some records, as the API sends them.
        key: the fields of the primary key.
    """
    fields = list(dict.fromkeys(field for record in records for field in record))
    has_id = list(key) == ["id"] and least_type({kind_of(record["id"]) for record in records}) == "bigint"
    base = "Record" if has_id else "BaseRecord"
    lines, aliases = [], {base}
    left = [field for field in fields if not _can_be_declared(field)]
    for field in fields:
        kind = least_type({kind_of(record[field]) for record in records if record.get(field) is not None})
        if kind is None or field in left or (has_id and field == "id"):
            continue
        alias = _ALIASES[kind]
        aliases.add(alias)
        description = f'description="Example: {_example(field, records)}"'
        lines.append(
            f"    {field}: {alias} = Field({description})"
            if field in key
            else f"    {field}: {alias} | None = Field(None, {description})"
        )
    comment = [f"    # Not declared, because Python takes no such name: {', '.join(left)}."] if left else []
    return "\n".join(
        [
            f'"""{name}, as its first page looked. Correct the types, and say what the fields mean."""',
            "",
            "from pydantic import Field",
            "",
            f"from crm_assets.models.record import {', '.join(sorted(aliases))}",
            "",
            "",
            f"class {name}({base}):",
            f'    """One record of {name}."""',
            "",
            *comment,
            *lines,
            "",
        ]
    )


def _can_be_declared(field: str) -> bool:
    return (
        field.isidentifier()
        and not keyword.iskeyword(field)
        and not field.startswith(("_", "model_"))
        and not hasattr(BaseRecord, field)
    )


def _example(field: str, records: Sequence[Mapping[str, Any]]) -> str:
    value = next(record[field] for record in records if record.get(field) is not None)
    text = value if isinstance(value, str) else json_text(value)
    shown = text if len(text) <= _EXAMPLE else f"{text[: _EXAMPLE - 3]}..."
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def class_name(resource: str) -> str:
    """Return the name of the class for one record of `resource`: `ticket_filters` gives `TicketFilter`."""
    one = f"{resource[:-3]}y" if resource.endswith("ies") else resource.removesuffix("s")
    return "".join(part.capitalize() for part in (one or resource).split("_"))


def add_row(file: Path, row: Mapping[str, Any]) -> None:
    """Write `row` as the last one of the resources in `file`.

    Raises:
        ApiConfigError: the list of resources is not found there; says the row.
    """
    text = file.read_text(encoding="utf-8")
    found = _in_yaml(text, row) if file.suffix in (".yaml", ".yml") else _in_python(text, row)
    if found is None:
        raise ApiConfigError(f"{file} has no list `resources` that a row can be added to. Add it yourself: {dict(row)}")
    file.write_text(found, encoding="utf-8")


def _in_yaml(text: str, row: Mapping[str, Any]) -> str | None:
    root = yaml.compose(text)
    rows = next((value for key, value in root.value if key.value == "resources"), None) if root else None
    if rows is None or not isinstance(rows, yaml.SequenceNode) or rows.flow_style or not rows.value:
        return None
    indent = " " * rows.start_mark.column
    written = yaml.safe_dump([dict(row)], sort_keys=False, default_flow_style=False)
    lines = text.splitlines(keepends=True)
    last = rows.value[-1].end_mark.line
    while last > 0 and not lines[last - 1].strip():
        last -= 1
    before = "".join(lines[:last])
    added = "".join(f"{indent}{line}\n" for line in written.splitlines())
    return f"{before}{'' if before.endswith(chr(10)) else chr(10)}{added}{''.join(lines[last:])}"


def _in_python(text: str, row: Mapping[str, Any]) -> str | None:
    pairs = (
        (key, value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
    )
    rows = next(
        (
            value
            for key, value in pairs
            if isinstance(key, ast.Constant) and key.value == "resources" and isinstance(value, ast.List) and value.elts
        ),
        None,
    )
    if rows is None:
        return None
    lines = text.splitlines(keepends=True)
    last = rows.elts[-1]
    indent = " " * rows.elts[0].col_offset
    end = int(last.end_lineno or 0)
    line = lines[end - 1].encode()
    head, tail = line[: last.end_col_offset].decode(), line[last.end_col_offset :].decode()
    written = pformat(dict(row), indent=4, width=100, sort_dicts=False).splitlines()
    added = "".join(f"\n{indent}{one}" for one in written)
    comma = "" if tail.lstrip().startswith(",") else ","
    rest = tail.replace(",", "", 1) if not comma else tail
    return "".join([*lines[: end - 1], f"{head},{added},{rest}", *lines[end:]])
