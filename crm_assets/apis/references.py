"""References: text such as `{{ dlt.secrets["api_key"] }}` that stands for a value which only the run knows.

A configuration is read when a code location is loaded, where no secret is at hand and none is needed.
"""

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from crm_assets.apis.texts import texts_in, with_texts

_ESCAPE = r"""\\(?:["'\\/bfnrt]|u[0-9a-fA-F]{4})"""
_DEFAULT = rf"""
    "(?:[^"\\\n]|{_ESCAPE})*" | '(?:[^'\\\n]|{_ESCAPE})*'
    | -?\d+(?:\.\d+)?(?:[eE][+-]?\d+)? | true|false|null|True|False|None
"""
_REFERENCE = re.compile(
    rf"""\{{\{{\s*(?P<source>env|dlt\.secrets|dlt\.config)
        (?: \.(?P<name>\w+(?:\.\w+)*)
          | \[\s*(?P<quote>['"])(?P<key>[^'"]+)(?P=quote)\s*\]
          | \.get\(\s*(?P<mark>['"])(?P<got>[^'"]+)(?P=mark)\s*(?:,\s*(?P<default>{_DEFAULT})\s*)?\)
        )\s*\}}\}}""",
    re.VERBOSE,
)
_REQUIRED: Any = object()
"""In the place of a default, where there is none."""


@dataclass(frozen=True)
class Reference:
    """A value that stands elsewhere: in the environment, in dlt's secrets, or in dlt's configuration."""

    source: Literal["env", "dlt.secrets", "dlt.config"]
    name: str
    default: str | None = None
    """What holds where nothing is set, as JSON; None for a value that must be set."""

    def __str__(self) -> str:
        if self.default is None:
            return f'{{{{ {self.source}["{self.name}"] }}}}'
        return f'{{{{ {self.source}.get("{self.name}", {self.default}) }}}}'

    @property
    def is_secret(self) -> bool:
        """Whether the value must not be shown, wherever it is used. One of the environment may be an address."""
        return self.source == "dlt.secrets"

    def or_default(self, found: Any) -> Any:
        """Return `found`, or the default where that is None; None where there is none either."""
        return json.loads(self.default) if found is None and self.default is not None else found

    def is_missing(self, found: Any) -> bool:
        """Return whether `found` is None, and a value must be set."""
        return found is None and self.default is None


class Referring:
    """Stands for `dlt.secrets` or `dlt.config` while a configuration is read: `["key"]` gives a reference."""

    def __init__(self, source: Literal["dlt.secrets", "dlt.config"]) -> None:
        self._source = source

    def __getitem__(self, name: str) -> str:
        return str(Reference(self._source, name))

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def get(self, name: str, default: Any = _REQUIRED) -> str:
        """Return a reference to a value that need not be set.

        Args:
            name: the setting.
            default: what holds where nothing is set. dlt takes a type in this place: one is no default.

        Raises:
            TypeError: the default cannot be written into a text.
        """
        if default is _REQUIRED or isinstance(default, type):
            return self[name]
        if not isinstance(default, str | int | float | None):
            raise TypeError(f"the default of {name} must be a text, a number, True, False or None")
        return str(Reference(self._source, name, _as_json(default)))


def references_in(value: Any) -> Iterator[Reference]:
    """Yield the references in `value`, a text or anything nested, in their order."""
    for text in texts_in(value):
        yield from map(_of_match, _REFERENCE.finditer(text))


def resolved(value: Any, lookup: Callable[[Reference], Any]) -> Any:
    """Return `value` with what `lookup` finds for each reference. Text that is one alone becomes the value itself."""

    def with_values(text: str) -> Any:
        if whole := _REFERENCE.fullmatch(text.strip()):
            return lookup(_of_match(whole))
        return _REFERENCE.sub(lambda match: str(lookup(_of_match(match))), text)

    return with_texts(value, with_values)


def _of_match(match: re.Match[str]) -> Reference:
    source: Any = match["source"]
    default = match["default"]
    return Reference(source, match["name"] or match["key"] or match["got"], default and _as_json(_scalar(default)))


def _scalar(written: str) -> Any:
    """Return the value that is written in JSON, or as Python writes it."""
    try:
        return json.loads(written)
    except ValueError:
        return literal_eval(written)


def _as_json(value: Any) -> str:
    # Braces would be taken for an expression; in JSON they can only be part of a text.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("{", "\\u007b").replace("}", "\\u007d")
