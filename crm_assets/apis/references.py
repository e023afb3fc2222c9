"""References: text such as `{{ dlt.secrets["api_key"] }}` that stands for a value which only the run knows.

A configuration is read when a code location is loaded, where no secret is at hand and none is needed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from crm_assets.apis.texts import texts_in, with_texts

_REFERENCE = re.compile(
    r"""\{\{\s*(?P<source>env|dlt\.secrets|dlt\.config)
        (?: \.(?P<name>\w+(?:\.\w+)*) | \[\s*(?P<quote>['"])(?P<key>[^'"]+)(?P=quote)\s*\] )\s*\}\}""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Reference:
    """A value that stands elsewhere: in the environment, in dlt's secrets, or in dlt's configuration."""

    source: Literal["env", "dlt.secrets", "dlt.config"]
    name: str

    def __str__(self) -> str:
        return f'{{{{ {self.source}["{self.name}"] }}}}'

    @property
    def is_secret(self) -> bool:
        """Whether the value must not be shown, wherever it is used. One of the environment may be an address."""
        return self.source == "dlt.secrets"


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

    def get(self, name: str, default: Any = None) -> str:
        """Return a reference, as `dlt.secrets.get` does the value."""
        return self[name]


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
    return Reference(source, match["name"] or match["key"])
