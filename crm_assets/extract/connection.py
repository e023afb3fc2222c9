"""Who asks the CRM, where, and how patiently."""

from dataclasses import dataclass, field
from threading import Event
from urllib.parse import urlsplit

from crm_assets.extract.redaction import masked

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Connection:
    """Address, login and limits of one CRM account.

    `cancelled` ends every listing that reads through the connection, also one that waits for a retry.
    """

    base_url: str
    email: str = field(repr=False)
    api_key: str = field(repr=False)
    page_size: int | None = None
    """Records per page; None for the limit that the endpoint table names."""
    connect_timeout: float = 10.0
    """Seconds until the CRM must have taken the connection."""
    read_timeout: float = 60.0
    """Seconds without a byte after which an answer counts as lost. The CRM itself gives up after 60."""
    answer_seconds: float = 300.0
    """Seconds within which an answer must be whole."""
    answer_bytes: int = 128 << 20
    """The largest answer that is read, in bytes, decompressed."""
    listing_seconds: float = 21_600.0
    """Seconds within which a listing must end."""
    cancelled: Event = field(default_factory=Event, repr=False, compare=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the CRM is on this machine, where no proxy of the environment may come between."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    def __deepcopy__(self, memo: object) -> "Connection":
        # dlt copies a configuration to validate it, and events cannot be copied.
        return self

    def masked(self, text: str) -> str:
        """Return `text` without the login."""
        return masked(text, self.email, self.api_key)


@dataclass
class Traffic:
    """What reading one resource has cost so far, and how far it is. SpoolState by its thread, read by any."""

    requests: int = 0
    retries: int = 0
    pages: int = 0
    bytes: int = 0
    cursor: str | None = None
    """Where the page after the last one begins; None at the end of the listing."""
