"""What a connection and an API of the sandbox say to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, get_args

ApiName = Literal["v1", "agilecrm"]
API_NAMES: Final = get_args(ApiName)

OK: Final = 200
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
HTML: Final = "text/html; charset=utf-8"


class Request(NamedTuple):
    """What was asked: a HEAD is a GET here. `form` is empty unless the body is a form."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class Withheld(Exception):
    """There is no answer: the connection ends after `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(f"no answer; the connection ends after {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Call:
    """A request for the records of a resource, understood.

    Attributes:
        resource: whose records.
        answer: gives the right answer for None, and for a kind of fault what it needs: its own answer for `null_data`,
            `repeat_cursor` and `extra_cursor`, one with a body to cut for `half_json` and `cut_off`. Raises `Withheld`.
        parent: identifier of the record whose children are asked for, as text.
        cut: seconds after which a request that a fault holds gets no answer any more; None for never.
    """

    resource: str
    answer: Callable[[str | None], Answer]
    parent: str | None = None
    cut: float | None = None


class Api(Protocol):
    """One API over the records of the sandbox."""

    def call(self, request: Request) -> Call | Answer | None:
        """Return what `request` is, or its answer if it is for no resource; None if its path is not this API's."""

    def refused_login(self) -> Answer:
        """Return the answer to a wrong login."""

    def endpoints(self) -> Mapping[str, list[str]]:
        """Return the requests that list each resource, such as `GET /v1/contacts`."""

    def example(self, curl: str, base_url: str) -> str:
        """Return a command that asks for two contacts, from one that logs in: `curl -u EMAIL:API_KEY`."""
