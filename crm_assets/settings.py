"""The settings of an account, as dlt finds them: environment, `.dlt/secrets.toml`, `.dlt/config.toml`.

Each model is one section. An account's own value goes before the general one, and a resource's own before both:
`sources.acme.sync.deals.history`, `sources.acme.sync.history`, `sync.deals.history`, `sync.history`.
A setting that is missing or malformed is an error that names the setting, the file and the environment variable.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args
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

from crm_assets.apis.api_config import Cadence
from crm_assets.apis.references import Reference
from crm_assets.errors import SettingError

SANDBOX = "sandbox"
"""The `base_url` that stands for the sandbox CRM, which the run starts itself."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The hosts that a login may be sent to unencrypted."""

Share = Annotated[float, Field(ge=0, le=1)]
_A_WEEK = 604_800.0
_OWNER = re.compile(r"team:\S.*|\w[\w.%+-]*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,7}", re.ASCII)
"""What Dagster takes for an owner."""
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def _address(value: str) -> str:
    if value == SANDBOX:
        return value
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("must be an address such as https://api.example.com, or the word sandbox")
    if parts.username or parts.password:
        raise ValueError("must not contain a login; use the settings email and api_key")
    if parts.query or parts.fragment:
        raise ValueError("must end before any ? or #")
    if any(sign.isspace() or not sign.isprintable() for sign in value):
        raise ValueError("must not contain spaces")
    if not _is_host(host):
        raise ValueError(f"{host!r} is not a host name")
    return value.rstrip("/")


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        try:
            labels = host.removesuffix(".").encode("idna").decode().split(".")
        except UnicodeError:
            return False
        return all(map(_HOST_LABEL.fullmatch, labels))
    return True


def _folder(value: Any) -> Any:
    """Refuse the address of an object store: as a path, `s3://bucket` is a folder `s3:` in the current one."""
    if "://" in str(value):
        raise ValueError(
            "must be a folder, not an address: mount it as one, or let each machine have a folder of its own"
        )
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone of the IANA database, such as Europe/Berlin") from None
    return value


def _matching(pattern: str, what: str) -> AfterValidator:
    """Return a validator of text: a pattern says nothing to a reader, so the message says `what` it must be."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


def split_names(value: Any) -> Any:
    """Split `a, b`, as it stands in the environment; leave a list, and None, as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _addresses(value: Any) -> Any:
    """Split addresses as they stand in the environment; a comma within one, as in `?to=a@b.com,c@d.com`, stays."""
    return [one for one in re.split(r"[,\s]+(?=\w+://)", value.strip()) if one] if isinstance(value, str) else value


def _web_address(value: SecretStr | None) -> SecretStr | None:
    parts = urlsplit(value.get_secret_value() if value else "https://unset")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://hooks.example.com/...")
    return value


def _owners(value: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [owner for owner in value if not _OWNER.fullmatch(owner)]:
        raise ValueError(f"{wrong[0]!r} is neither a team, such as team:crm, nor an e-mail address")
    return value


def _key_parts(value: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [part for part in value if not re.fullmatch(r"[A-Za-z0-9_.-]+", part)]:
        raise ValueError(f"{wrong[0]!r} is no part of a key: use letters, digits, and parts apart by commas")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(split_names)]
"""A list of names, or text with commas."""


def find_setting(key: str) -> Any:
    """Return what dlt finds for `key`, None for nothing.

    `dlt.secrets` reads no config.toml and `dlt.config` no secrets.toml, so both are asked.

    Raises:
        SettingError: a file is not valid TOML.
    """
    try:
        secret: Any = dlt.secrets.get(key)
        return dlt.config.get(key) if secret is None else secret
    except TomlProviderReadException as error:
        raise SettingError(f"{' '.join(str(error).split())}. Fix that file: it is not valid TOML.") from None


def find_reference(account: str, reference: Reference) -> Any:
    """Return what the configuration of an account's API refers to as it is set, None for nothing.

    Of a name in dlt's settings, the one in the section of the account goes before the one that is called just so.
    """
    if reference.source == "env":
        return os.environ.get(reference.name)
    own = find_setting(f"sources.{account}.{reference.name}")
    return find_setting(reference.name) if own is None else own


class Origin(NamedTuple):
    """A value that dlt finds, and where."""

    value: Any
    place: str


def setting_origin(key: str) -> Origin | None:
    """Return what dlt finds for `key`, and where; None for nothing."""
    *sections, name = key.split(".")
    for accessor in (dlt.secrets, dlt.config):
        for provider in accessor.config_providers:
            value, variable = provider.get_value(name, accessor.default_type, None, *sections)
            if value is not None:
                file = provider.get_value_location(name, None, *sections)
                return Origin(value, _place_of(file) if file else f"{variable} in the environment")
    return None


def _place_of(file: str) -> str:
    return file if Path(file).is_absolute() else f".dlt/{file}"


def explain_reference(account: str, reference: Reference, problem: str) -> str:
    """Return one line that says what is wrong with what an account's API refers to, and where to fix it."""
    if reference.source == "env":
        return f"{reference.name} {problem}. Set it in the environment: the API of [sources.{account}] refers to it."
    section, _, name = f"sources.{account}.{reference.name}".rpartition(".")
    file = ".dlt/secrets.toml" if reference.is_secret else ".dlt/config.toml"
    variable = f"{section}.{name}".replace(".", "__").upper()
    return f"{section}.{name} {problem}. Set `{name}` under [{section}] in {file}, or {variable} in the environment."


class Settings(BaseModel):
    """One section of settings."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True, extra="forbid")
    section: ClassVar[str]

    @classmethod
    def read(cls, account: str, given: Mapping[str, Any] | None = None, resource: str | None = None) -> Self:
        """Return the section for `account`, or for one resource of it.

        Args:
            account: name of the account.
            given: values that go before what dlt finds; None stands for "not given".
            resource: name of a resource that may have values of its own.

        Raises:
            SettingError: names every setting that is missing or cannot be used.
        """
        sections = list(_existing(cls._sections(account, resource)))
        values = {name: value for name, value in (given or {}).items() if value is not None}
        origins: dict[str, str] = {}
        for name in cls.model_fields.keys() - values.keys():
            for section in sections:
                if (value := find_setting(f"{section}.{name}")) is not None:
                    values[name], origins[name] = value, section
                    break
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                cls.explain(
                    account, str(fault["loc"][0]), fault["type"], fault["msg"], origins.get(str(fault["loc"][0]))
                )
                for fault in error.errors()
            ]
            raise SettingError("\n".join(lines)) from None

    @classmethod
    def explain(cls, account: str, name: str, kind: str, message: str, section: str | None = None) -> str:
        """Return one line that says what is wrong with the setting `name` and where to fix it.

        Args:
            account: name of the account.
            name: the setting.
            kind: what kind of error pydantic calls it.
            message: what pydantic says.
            section: where it was found; None for the one where it is set, or else where it belongs.
        """
        sections = cls._sections(account, None)
        found = (one for one in sections if find_setting(f"{one}.{name}") is not None)
        section = section or next(found, sections[-1])
        if kind == "extra_forbidden":
            return f"{section}.{name} is not a setting. Known: {', '.join(cls.model_fields)}."
        annotation = cls.model_fields[name].annotation
        secret = SecretStr in (annotation, *get_args(annotation))
        problem = "is not set" if kind == "missing" else f"cannot be used: {message.removeprefix('Value error, ')}"
        file = ".dlt/secrets.toml" if secret else ".dlt/config.toml"
        variable = f"{section}.{name}".replace(".", "__").upper()
        origin = setting_origin(f"{section}.{name}")
        if origin and origin.place.endswith((".yaml", ".yml")):
            inner = section.removeprefix(f"sources.{account}").lstrip(".")
            where = f"Set `{name}` of {account}{f', under {inner},' if inner else ''} in {origin.place}"
        else:
            where = f"Set `{name}` under [{section}] in {file}"
        return f"{section}.{name} {problem}. {where}, or {variable} in the environment."

    @classmethod
    def _sections(cls, account: str, resource: str | None) -> list[str]:
        """Return the sections in which a value may stand, the most special first."""
        sections = [f"sources.{account}.{cls.section}", cls.section]
        return [one for name in sections for one in ([f"{name}.{resource}", name] if resource else [name])]


class _OfTheAccount(Settings):
    """A section that only an account has."""

    @classmethod
    def _sections(cls, account: str, resource: str | None) -> list[str]:
        return [f"sources.{account}"]


def _existing(sections: Sequence[str]) -> Iterator[str]:
    """Yield those of `sections` in which something is set: most resources and accounts have none of their own."""
    variables = _sections_of(frozenset(os.environ))
    for section in sections:
        if section.replace(".", "__").upper() in variables or isinstance(find_setting(section), Mapping):
            yield section


@lru_cache(4)
def _sections_of(variables: frozenset[str]) -> frozenset[str]:
    """Return the sections in which environment variables are: hundreds of accounts have a thousand of them."""
    split = (name.split("__") for name in variables)
    return frozenset("__".join(parts[:end]) for parts in split for end in range(1, len(parts)))


class AccountSettings(_OfTheAccount):
    """Section `sources.<account>`: which CRM, where it is, and what of it is loaded."""

    section: ClassVar[str] = "sources"

    allow_http: bool = Field(
        False, description="Allow plain HTTP to other machines. Login and data are then unencrypted."
    )
    base_url: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="URL of the CRM, or `sandbox` for the one on loopback that comes with the project."
    )
    api: str = Field(
        "v1",
        description="The CRM's API: `v1`, `agilecrm`, the path of a Python or YAML file, or `module:NAME`.",
    )
    resources: Names = Field((), description="Resources to load. Default: all resources of the API.")
    cadences: dict[str, Cadence] = Field(
        {}, description="How often a resource is loaded, where the API says otherwise."
    )
    key_prefix: Annotated[Names, AfterValidator(_key_parts)] = Field(
        (), description="Prefix of the asset keys. Default: the account's name."
    )
    owners: Annotated[Names, AfterValidator(_owners)] = Field(
        ("team:crm",), description="Who answers for the assets: teams as `team:name`, and e-mail addresses."
    )
    data_dir: Annotated[Path, BeforeValidator(_folder)] | None = Field(
        None, description="Folder for the files of runs and for the DuckDB file."
    )
    page_size: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Records per page, 1 to 10,000. Unset: the limit that the API's configuration names."
    )
    answer_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0, description="Time limit for one complete response, in seconds."
    )
    answer_bytes: Annotated[int, Field(ge=1)] = Field(
        128 << 20, description="Maximum size of a response, in bytes after decompression."
    )
    listing_seconds: Annotated[float, Field(gt=0)] = Field(
        21_600.0, description="Time limit for one complete listing, in seconds."
    )

    concurrency: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="Requests at once for a resource that is requested for each record of another one. "
        "Unset: what the API's configuration says, else 8.",
    )
    requests_per_second: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Requests per second at the most, over all resources of the account. "
        "Unset: what the API's configuration says, else no limit.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_encrypted(cls, value: str | None, info: ValidationInfo) -> str | None:
        parts = urlsplit(value or "")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not info.data.get("allow_http"):
            raise ValueError("http:// would send the login unencrypted; use https://, or set allow_http")
        return value


class WarehouseSettings(Settings):
    """Section `warehouse`: where the tables go."""

    section: ClassVar[str] = "warehouse"

    destination: Annotated[str, Field(min_length=1)] = Field(
        "duckdb",
        description="Name of a dlt destination: `duckdb`, `postgres`, `filesystem` for Delta tables, and so on.",
    )
    dataset: Annotated[str, _matching(r"[a-z_][a-z0-9_]*", "a name of lower-case letters, digits and _")] = Field(
        "crm",
        description="Dataset (schema) of the tables. The sandbox's tables go to `<dataset>_sandbox`, and those of an "
        "account that names none of its own to `<dataset>_<account>`.",
    )
    staging: str | None = Field(
        None,
        description="Name of the dlt destination through which files reach a warehouse that loads them from a bucket: "
        "`filesystem`. Its settings are dlt's, under `destination.filesystem`. Unset: files are loaded directly.",
    )
    memory_limit: Annotated[str, _matching(r"(?i)\d+(\.\d+)? ?[KMGT]i?B", "a size such as 512MB")] = Field(
        "300MB",
        description="Memory that DuckDB may use during a load, one thread for each 125 MB of it, e.g. `1GB`. Where "
        "over a million rows did not change it takes 60 bytes more for each of them. DuckDB only.",
    )
    storage_version: Annotated[str, _matching(r"v\d+\.\d+\.\d+|latest", "a version such as v1.0.0, or latest")] = Field(
        "v1.2.0",
        description="Oldest version of DuckDB that can open a DuckDB file which a load creates; `latest` for the "
        "version that is installed. A file that exists keeps its own.",
    )
    snapshot: Path | None = Field(
        None,
        description="File that each load replaces with a copy of the DuckDB file, for readers: whoever has it "
        "open stops no load. Relative to the folder in which the data folder is. Unset: no copy. DuckDB only.",
    )
    lock_timeout: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Seconds to wait for another process to release the DuckDB file or a table."
    )


class SyncSettings(Settings):
    """Section `sync`: what a load does. Under `sync.<resource>` each can be set for one resource."""

    section: ClassVar[str] = "sync"

    deletes: Literal["flag", "remove", "keep"] = Field(
        "flag",
        description="What happens to a row whose record the CRM no longer lists: `flag` sets `_deleted_at`, "
        "`remove` deletes it, `keep` leaves it as it is.",
    )
    deletes_confirm: Literal["auto", "second_listing", "none"] = Field(
        "auto",
        description="When a record that the CRM no longer lists counts as deleted: `second_listing` when the next "
        "listing misses it too, `none` at once, `auto` at once where the listing is one page, or has as many records "
        "as the CRM says, and else when the next listing misses it too.",
    )
    delete_guard: Share = Field(
        0.2,
        description="Largest share of a table that one load may delete; beyond it, nothing "
        "is deleted. Tables of up to 100 rows are exempt, "
        "unless of more than ten rows none is left.",
    )
    history: bool = Field(False, description="Whether `<resource>_history` keeps every version of a record.")
    mode: Literal["incremental", "full"] = Field(
        "incremental",
        description="`incremental`: a resource whose API can say what is new is asked for that only, and listed whole "
        "now and then. `full`: it is always listed whole.",
    )
    full_listing_interval: Annotated[float, Field(ge=0)] = Field(
        86_400.0,
        description="Seconds after which an incremental resource is listed whole again: that finds what was deleted.",
    )
    look_back: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Seconds by which an incremental listing begins before the newest time in the table."
    )
    resume_within: Annotated[float, Field(ge=0, le=_A_WEEK)] = Field(
        21_600.0, description="How long an interrupted listing can be resumed, in seconds from its start."
    )
    new_columns: Annotated[int, Field(ge=0)] = Field(
        200,
        description="Maximum number of undeclared fields with a column of their own; the rest go to `other_fields`.",
    )


class CheckSettings(Settings):
    """Section `checks`: thresholds. Under `checks.<resource>` each can be set for one resource."""

    section: ClassVar[str] = "checks"

    rejected_share: Share = Field(
        0.01,
        description="Share of rejected records, or of rows with a value that does not fit its column, above which the "
        "check reports an error, not a warning.",
    )
    row_count_drop: Share = Field(0.2, description="Share of its rows that a table or a listing may lose.")
    dangling_share: Share = Field(0.05, description="Largest share of references that may point to missing records.")


class SandboxSettings(Settings):
    """Section `sandbox`: the CRM on loopback."""

    section: ClassVar[str] = "sandbox"

    port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        8765, description="Port of the sandbox that `crm-assets sandbox` or `make dev` starts."
    )


class AutomationSettings(Settings):
    """Section `automation`: what runs by itself, and when."""

    section: ClassVar[str] = "automation"

    enabled: bool = Field(False, description="Turn on schedules and sensors by default.")
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field("UTC", description="Time zone of the crons.")
    frequent_cron: str = Field(
        "*/15 * * * *",
        description="Cron expression for resources with cadence `frequent`. `H` stands for a number that follows from "
        "the account's name, as in `H/15 * * * *`.",
    )
    daily_cron: str = Field("5 3 * * *", description="Cron expression for resources with cadence `daily`.")
    watch: Names | None = Field(
        None,
        description="The resources whose changes start a load: a list, or names with commas. Unset: all that are "
        "one listing, and not requested for each record of another one.",
    )
    change_interval: Annotated[int, Field(ge=1)] = Field(
        60, description="Minimum interval between checks for changes, in seconds."
    )
    keep_days: Annotated[int, Field(ge=1)] = Field(
        30, description="Days after which a finished run is deleted from Dagster's history."
    )
    keep_runs: Annotated[int, Field(ge=1)] = Field(
        1_000, description="Finished runs of each job that stay in Dagster's history at the most."
    )

    def spread(self) -> Self:
        """Return the same with each cron that nobody has set at a time of its own for each account."""
        spread = {"frequent_cron": "H/15 * * * *", "daily_cron": "H 3 * * *"}
        return self.model_copy(
            update={name: cron for name, cron in spread.items() if name not in self.model_fields_set}
        )


class AlertSettings(Settings):
    """Section `alerts`: where alerts are sent."""

    section: ClassVar[str] = "alerts"

    webhook_url: Annotated[SecretStr | None, AfterValidator(_web_address)] = Field(
        None, description="URL of a Slack-compatible webhook."
    )
    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "http://127.0.0.1:3000", description="Address of the Dagster UI, for links."
    )
    urls: Annotated[tuple[SecretStr, ...], BeforeValidator(_addresses)] = Field(
        (), description="Apprise URLs: a list, or text separated by commas."
    )

    @classmethod
    def read(cls, account: str, given: Mapping[str, Any] | None = None, resource: str | None = None) -> Self:
        """Return the section, unless it still has the mail server of an earlier version.

        Raises:
            SettingError: names every setting that cannot be used.
        """
        if any(find_setting(f"{section}.smtp_host") is not None for section in cls._sections(account, resource)):
            raise SettingError(
                "alerts.smtp_host is no longer supported. Remove it, and send mail through alerts.urls: "
                "mailtos://user:password@host?to=..."
            )
        return super().read(account, given, resource)
