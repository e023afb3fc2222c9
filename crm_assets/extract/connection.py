"""Address, login and limits of a connection with the CRM."""

from dataclasses import dataclass, field
from hashlib import sha256
from threading import Event
from typing import Self
from urllib.parse import urlsplit

from crm_assets.extract.redaction import redacted
from crm_assets.settings import LOOPBACK


@dataclass(frozen=True)
class Connection:
    """Address, login and limits of one CRM account.

    `cancelled` ends every listing that reads through the connection, also one that waits for a retry.
    """

    base_url: str
    email: str = field(repr=False)
    api_key: str = field(repr=False)
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
    section: str = "sources.crm"
    """Section of the account's settings, for messages."""
    cancelled: Event = field(default_factory=Event, repr=False, compare=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the CRM is on this machine, where no proxy of the environment may come between."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    @property
    def source_id(self) -> str:
        """Whose listings are read, without telling the login: one of another CRM, login or page size is not resumed."""
        return sha256(f"{self.base_url}\n{self.email}\n{self.page_size}".encode()).hexdigest()[:16]

    def redacted(self, text: str) -> str:
        """Return `text` without the login."""
        return redacted(text, self.email, self.api_key)

    def setting(self, name: str) -> str:
        """Return `name` with its section and its environment variable, for messages."""
        full = f"{self.section}.{name}"
        return f"{full} ({full.replace('.', '__').upper()})"

    def __deepcopy__(self, memo: object) -> Self:
        # dlt copies a configuration to validate it, and events cannot be copied.
        return self


@dataclass
class Traffic:
    """What reading one resource has cost so far. Written by its thread, read by any."""

    requests: int = 0
    retries: int = 0
    pages: int = 0
    bytes: int = 0
