"""Address, login and limits of a connection with the CRM."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from threading import Event, Lock
from time import monotonic
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from requests.auth import AuthBase

from crm_assets.apis.references import Reference, references_in, resolved
from crm_assets.extract.auth import SECRET_WORDS, request_auth
from crm_assets.extract.rate_limit import RateLimit
from crm_assets.extract.redaction import redacted, redacted_excerpt
from crm_assets.settings import LOOPBACK

CONCURRENCY = 8
"""Requests at once for a resource that has a parent, where neither a setting nor the API says otherwise."""


@dataclass(frozen=True)
class Connection:
    """Address, login and limits of one CRM account.

    `cancelled` ends every listing that reads through the connection, also one that waits for a retry.
    """

    base_url: str
    values: Mapping[Reference, Any] = field(default_factory=dict, repr=False)
    """What the API's configuration refers to: login and other settings."""
    auth: Any = field(default=None, repr=False)
    """The login of every request, in the words of the configuration, with its references."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of every request, with their references."""
    login_references: frozenset[Reference] = field(default_factory=frozenset, repr=False)
    """What logins and headers refer to, those of single endpoints included."""
    page_size: int | None = None
    """Records per page; None for the limit that the API names."""
    connect_timeout: float = 10.0
    """Seconds until the CRM must have taken the connection."""
    read_timeout: float = 60.0
    """Seconds without a byte after which a response counts as lost. The CRM itself gives up after 60."""
    answer_seconds: float = 300.0
    """Seconds within which a response must be whole."""
    answer_bytes: int = 128 << 20
    """The largest response that is read, in bytes, decompressed."""
    listing_seconds: float = 21_600.0
    """Seconds within which a listing must end."""
    concurrency: int = CONCURRENCY
    """Requests at once for a resource that has a parent."""
    rate_limit: RateLimit = field(default_factory=RateLimit, repr=False, compare=False)
    """One for all threads."""
    section: str = "sources.crm"
    """Section of the account's settings, for messages."""
    cancelled: Event = field(default_factory=Event, repr=False, compare=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the CRM is on this machine, where no proxy of the environment may come between."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    @property
    def source_id(self) -> str:
        """Whose listings are read, without telling the login: one of another CRM, user or page size is not resumed."""
        auth = self.auth if isinstance(self.auth, Mapping) else {}
        user = self.resolve({word: auth[word] for word in ("username", "client_id") if word in auth})
        return sha256(f"{self.base_url}\n{user}\n{self.page_size}".encode()).hexdigest()[:16]

    def resolve(self, value: Any) -> Any:
        """Return `value`, a part of the API's configuration, with what it refers to."""
        return resolved(value, self.values.__getitem__)

    @property
    def login_settings(self) -> str:
        """The settings of the login, for messages."""
        named = [self.setting(one.name) for one in references_in(self.auth) if one.source != "env"]
        named += [f"{one.name} in the environment" for one in references_in(self.auth) if one.source == "env"]
        return " and ".join(named) or "client.auth in the API's configuration"

    def redacted(self, text: str) -> str:
        """Return `text` without the login."""
        return redacted(text, self._secrets)

    def redacted_excerpt(self, body: bytes, length: int) -> str:
        """Return the first `length` characters of `body` without the login."""
        return redacted_excerpt(body, length, self._secrets)

    @cached_property
    def request_auth(self) -> AuthBase | None:
        """What puts the login into each request; one for all threads, because a token is asked for once."""
        return request_auth(self.auth, self.resolve)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """All secrets, the parts of the login, and the pair that basic auth makes of two of them."""
        auth = self.auth if isinstance(self.auth, Mapping) else {}
        login = self.resolve([auth[word] for word in SECRET_WORDS if word in auth])
        hidden = {*self.login_references, *references_in(self.auth)}
        referred = [value for one, value in self.values.items() if one.is_secret or one in hidden]
        pair = [":".join(map(str, login))] if "password" in auth else []
        return tuple(dict.fromkeys(str(value) for value in [*referred, *login, *pair] if value is not None))

    def setting(self, name: str) -> str:
        """Return `name` with its section and its environment variable, for messages."""
        full = f"{self.section}.{name}"
        return f"{full} ({full.replace('.', '__').upper()})"

    def __deepcopy__(self, memo: object) -> Self:
        # dlt copies a configuration to validate it, and events cannot be copied.
        return self


Stage = Literal["pausing", "waiting", "parsing", "converting", "spooling"]
"""What a thread that reads a resource does: it keeps to a limit or waits for a retry; it waits for the network; it
parses JSON, makes columns of records, and writes these to disk."""


@dataclass
class Traffic:
    """What reading one resource has cost so far. Any thread may add to it and read it."""

    requests: int = 0
    retries: int = 0
    pages: int = 0
    bytes: int = 0
    seconds: dict[Stage, float] = field(default_factory=dict)
    """How long each stage took, all threads together; what was waited for another thread to do is in it."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, *, requests: int = 0, retries: int = 0, pages: int = 0, size: int = 0) -> None:
        """Count so many more, and `size` more bytes."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.pages += pages
            self.bytes += size

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time that the block takes to `stage`."""
        started = monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + monotonic() - started
