"""The settings, as dlt finds them: environment, `.dlt/secrets.toml`, `.dlt/config.toml`.

Each model is one section. A setting that is missing or malformed is an error that names the
setting, the file and the environment variable; nothing is read before a run asks for it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dlt
from dlt.common.configuration.providers.toml import TomlProviderReadException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from crm_assets.errors import SettingError
from crm_assets.extract.connection import LOOPBACK
from crm_assets.models import MODELS

SANDBOX = "sandbox"
"""The `base_url` that stands for the sandbox CRM, which the run starts itself."""


Share = Annotated[float, Field(ge=0, le=1)]
_A_WEEK = 604_800.0


def _address(value: str) -> str:
    parts = urlsplit(value)
    if value == SANDBOX:
        return value
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://api.example.com, or the word sandbox")
    if parts.username or parts.password:
        raise ValueError("must not contain a login; use sources.crm.email and sources.crm.api_key")
    if parts.query or parts.fragment:
        raise ValueError("must end before any ? or #")
    return value.rstrip("/")


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone of the IANA database, such as Europe/Berlin") from None
    return value


def _words(value: Any) -> Any:
    """Take `a, b` apart, as it stands in the environment; leave a list as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _addresses(value: Any) -> Any:
    """Take addresses apart as they stand in the environment; a comma within one, as in `?to=a@b.com,c@d.com`, stays."""
    return [one for one in re.split(r"[,\s]+(?=\w+://)", value.strip()) if one] if isinstance(value, str) else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise ValueError(f"unknown resource {', '.join(unknown)}; known: {', '.join(MODELS)}")
    return names


def _web_address(value: SecretStr | None) -> SecretStr | None:
    parts = urlsplit(value.get_secret_value() if value else "https://unset")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://hooks.example.com/...")
    return value


def _first(given: Any, key: str) -> Any:
    """Return `given`, or else what dlt finds: `dlt.secrets` reads no config.toml, `dlt.config` no secrets.toml."""
    if given is not None:
        return given
    try:
        secret: Any = dlt.secrets.get(key)
        return dlt.config.get(key) if secret is None else secret
    except TomlProviderReadException as error:
        raise SettingError(f"{' '.join(str(error).split())}. Mend that file: it is no TOML.") from None


class Settings(BaseModel):
    """One section of settings."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True)
    section: ClassVar[str]

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Return the section; a value in `given` that is not None goes before what dlt finds.

        Raises:
            SettingError: names every setting that is missing or cannot be used.
        """
        return cls._read(given, {})

    @classmethod
    def for_resource(cls, resource: str) -> Self:
        """Return the section with what is set for `resource` alone: `checks.deals.rejected_share`.

        Raises:
            SettingError: names the one that cannot be used.
        """
        section = f"{cls.section}.{resource}"
        own = {name: _first(None, f"{section}.{name}") for name in cls.model_fields}
        return cls._read(own, {name: section for name, value in own.items() if value is not None})

    @classmethod
    def _read(cls, given: Mapping[str, Any], sections: Mapping[str, str]) -> Self:
        values = {name: _first(given.get(name), f"{cls.section}.{name}") for name in cls.model_fields}
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            faults = [(str(fault["loc"][0]), fault["type"], fault["msg"]) for fault in error.errors()]
            lines = [cls.explain(*fault, section=sections.get(fault[0])) for fault in faults]
            raise SettingError("\n".join(lines)) from None

    @classmethod
    def explain(cls, name: str, kind: str, message: str, *, section: str | None = None) -> str:
        """Return one line that says what is wrong with the setting `name` and where to mend it.

        Args:
            name: the setting.
            kind: what kind of error pydantic calls it.
            message: what pydantic says.
            section: where it stands; None for the section itself.
        """
        section = section or cls.section
        annotation = cls.model_fields[name].annotation
        problem = "is not set" if kind == "missing" else f"cannot be used: {message.removeprefix('Value error, ')}"
        file = ".dlt/secrets.toml" if SecretStr in get_args(annotation) else ".dlt/config.toml"
        variable = f"{section}.{name}".replace(".", "__").upper()
        return (
            f"{section}.{name} {problem}. Set `{name}` under [{section}] in {file}, or {variable} in the environment."
        )


class CrmSettings(Settings):
    """Section `sources.crm`: which CRM, and who asks."""

    section: ClassVar[str] = "sources.crm"

    allow_http: bool = Field(False, description="Whether login and data may go to another machine unencrypted.")
    base_url: Annotated[str, AfterValidator(_address)] = Field(
        description="Address of the CRM, or `sandbox` for the CRM on loopback that comes with the project."
    )
    email: SecretStr | None = Field(None, description="User name of the login.")
    api_key: SecretStr | None = Field(None, description="Password of the login.")
    api: Literal["v1"] = Field("v1", description="Which API of the CRM to ask.")
    page_size: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Records per page, 1 to 10,000. Unset: the limit of the endpoint table, 100."
    )
    answer_seconds: Annotated[float, Field(gt=0)] = Field(300.0, description="Seconds that one answer may take.")
    answer_bytes: Annotated[int, Field(ge=1)] = Field(
        128 << 20, description="The largest answer that is read, in bytes, decompressed."
    )
    listing_seconds: Annotated[float, Field(gt=0)] = Field(
        21_600.0, description="Seconds after which a listing that has not ended is given up."
    )

    @field_validator("base_url")
    @classmethod
    def _is_encrypted(cls, value: str, info: ValidationInfo) -> str:
        parts = urlsplit(value)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not info.data.get("allow_http"):
            raise ValueError("http:// would show the login to everybody in between; use https://, or set allow_http")
        return value

    @property
    def is_sandbox(self) -> bool:
        """Whether the CRM is the sandbox."""
        return self.base_url == SANDBOX

    def login(self) -> tuple[str, str]:
        """Return e-mail and API key.

        Raises:
            SettingError: names those that are not set.
        """
        if self.email is None or self.api_key is None:
            unset = [name for name in ("email", "api_key") if getattr(self, name) is None]
            raise SettingError("\n".join(self.explain(name, "missing", "") for name in unset))
        return self.email.get_secret_value(), self.api_key.get_secret_value()


class WarehouseSettings(Settings):
    """Section `warehouse`: where the tables go."""

    section: ClassVar[str] = "warehouse"

    destination: Annotated[str, Field(min_length=1)] = Field(
        "duckdb", description="Name of a dlt SQL destination: `duckdb`, `postgres` and so on."
    )
    dataset: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")] = Field(
        "crm", description="Dataset (schema) of the tables. The sandbox's tables go to `<dataset>_sandbox`."
    )
    memory_limit: Annotated[str, Field(pattern=r"(?i)^\d+(\.\d+)? ?[KMGT]i?B$")] = Field(
        "1GB", description="Memory that DuckDB may use during a load, e.g. `800MB`. DuckDB only."
    )
    lock_timeout: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Seconds to wait for another process to close the DuckDB file. DuckDB only."
    )


class SyncSettings(Settings):
    """Section `sync`: what a load does. Under `sync.<resource>` each can be set for one resource."""

    section: ClassVar[str] = "sync"

    deletes: Literal["flag", "remove", "keep"] = Field(
        "flag",
        description="What becomes of a row whose record the CRM does not list any more: `flag` sets `_deleted_at`, "
        "`remove` takes it away, `keep` leaves it as it is.",
    )
    delete_guard: Share = Field(
        0.2, description="Share of a table of more than 100 rows above which a listing deletes nothing."
    )
    history: bool = Field(False, description="Whether `<resource>_history` keeps every version of a record.")
    resume_within: Annotated[float, Field(ge=0, le=_A_WEEK)] = Field(
        21_600.0, description="Seconds after its begin during which a listing that broke off is gone on with."
    )
    new_columns: Annotated[int, Field(ge=0)] = Field(
        200, description="Undeclared fields of a listing that get a column each; the others share `other_fields`."
    )


class CheckSettings(Settings):
    """Section `checks`: thresholds. Under `checks.<resource>` each can be set for one resource."""

    section: ClassVar[str] = "checks"

    rejected_share: Share = Field(0.01, description="Share of rejected records above which that is an error.")
    row_count_drop: Share = Field(0.2, description="Share of its rows that a table or a listing may lose.")
    dangling_share: Share = Field(0.05, description="Share of references that may lead nowhere.")


class SandboxSettings(Settings):
    """Section `sandbox`: the CRM on loopback."""

    section: ClassVar[str] = "sandbox"

    port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        8765, description="Port of a sandbox that stays up: `crm-assets sandbox`, `make dev`."
    )


class AutomationSettings(Settings):
    """Section `automation`: what runs by itself, and when."""

    section: ClassVar[str] = "automation"

    enabled: bool = Field(False, description="Whether schedules and sensors run from the start.")
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field("UTC", description="Time zone of the crons.")
    frequent_cron: str = Field("*/15 * * * *", description="When `crm_frequent` runs.")
    daily_cron: str = Field("5 3 * * *", description="When `crm_daily` runs.")
    watch: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_known)] = Field(
        tuple(MODELS), description="The resources that `crm_changes` looks at; a list, or names with commas."
    )
    change_interval: Annotated[int, Field(ge=1)] = Field(
        60, description="Seconds between two looks of `crm_changes`, at the least."
    )


class AlertSettings(Settings):
    """Section `alerts`: who hears of what is wrong."""

    section: ClassVar[str] = "alerts"

    webhook_url: Annotated[SecretStr | None, AfterValidator(_web_address)] = Field(
        None, description="A webhook that takes what Slack takes."
    )
    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "http://127.0.0.1:3000", description="Address of the Dagster UI, for links."
    )
    urls: Annotated[tuple[SecretStr, ...], BeforeValidator(_addresses)] = Field(
        (), description="Addresses that Apprise knows; a list, or addresses with commas."
    )

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Return the section; a value in `given` that is not None goes before what dlt finds.

        Raises:
            SettingError: names every setting that is missing or cannot be used, and `smtp_host`, which is no more.
        """
        if _first(None, f"{cls.section}.smtp_host") is not None:
            raise SettingError(
                "alerts.smtp_host is not supported any more. Remove it, and send mail through alerts.urls: "
                "mailtos://user:password@host?to=..."
            )
        return super().read(**given)
