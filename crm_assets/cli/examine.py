"""What `crm-assets doctor` looks at: settings, files, the CRM, the warehouse, schedules, alerts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from shutil import disk_usage
from typing import get_args

from pydantic import SecretStr

from crm_assets.account import Account
from crm_assets.alerts.delivery import channels
from crm_assets.alerts.messages import Message
from crm_assets.errors import CrmAssetsError, DiskError, WarehouseLocked
from crm_assets.extract.connect import connect
from crm_assets.extract.probe import probe_resources
from crm_assets.load.warehouse import recorded_loads
from crm_assets.load.warehouses.destination import duckdb_path, open_destination
from crm_assets.orchestration.run import State, instance
from crm_assets.project import exposed_secrets
from crm_assets.settings import AlertSettings, setting_origin
from crm_assets.text import counted
from crm_assets.unknown_settings import known_settings

_LITTLE_SPACE = 1 << 30
_DAEMON_SILENT = timedelta(minutes=5)


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    error: CrmAssetsError | None = None


def examine(account: Account, *, send_alert: bool = False) -> Iterator[Examined]:
    """Look at all that a load of `account` needs, and say of each thing how it is.

    Nothing is changed. The CRM gets one request, and with `send_alert` each alert channel a message.
    """
    yield Examined("versions", "passed", _versions())
    yield from _settings(account)
    yield from _folders(account)
    yield _crm(account)
    yield _warehouse(account)
    yield _automation(account)
    yield from _alerts(account, send_alert=send_alert)


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("crm_assets", "dagster", "dlt", "duckdb"))
    return f"Python {python_version()}, {packages}"


def _settings(account: Account) -> Iterator[Examined]:
    for name, field in known_settings(account).items():
        if origin := setting_origin(name):
            is_secret = SecretStr in (field.annotation, *get_args(field.annotation))
            yield Examined(name, "passed", f"{'***' if is_secret else origin.value}, from {origin.place}")
    if exposed := exposed_secrets():
        yield Examined("secrets", "WARN", exposed)


def _folders(account: Account) -> Iterator[Examined]:
    for what, folder in (("data folder", account.data_dir), ("DAGSTER_HOME", Path(os.environ["DAGSTER_HOME"]))):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        free = disk_usage(there).free
        said = f"{folder}, {free / (1 << 30):,.1f} GiB free"
        said += "" if free >= _LITTLE_SPACE else ", which is little: make room"
        if not os.access(there, os.W_OK | os.X_OK):
            problem = f"{folder} cannot be written: give this user the right to write there."
            yield Examined(what, "ERROR", problem, DiskError(problem))
        else:
            yield Examined(what, "passed" if free >= _LITTLE_SPACE else "WARN", said)


def _crm(account: Account) -> Examined:
    try:
        with connect(account) as connection:
            probe = next(probe_resources(account.resources[:1], connection, account.api))
    except CrmAssetsError as error:
        return Examined("CRM", "ERROR", str(error), error)
    if probe.error:
        return Examined("CRM", "ERROR", str(probe.error), probe.error)
    records = counted(probe.records or 0, "record")
    return Examined("CRM", "passed", f"{probe.resource} answered with {records} in {probe.seconds * 1000:,.0f} ms")


def _warehouse(account: Account) -> Examined:
    try:
        file = duckdb_path(open_destination(account.warehouse.destination, account.data_dir))
        tables = counted(len(recorded_loads(account)), "loaded table")
    except WarehouseLocked as error:
        return Examined("warehouse", "WARN", f"{error.holder} has the warehouse open: a load would wait for it", error)
    except CrmAssetsError as error:
        return Examined("warehouse", "ERROR", str(error), error)
    where = account.warehouse.destination if file is None else f"{file}, {_size(file)}"
    return Examined("warehouse", "passed", f"{where}, {tables} in dataset {account.dataset}")


def _size(file: Path) -> str:
    return f"{file.stat().st_size / (1 << 20):,.1f} MiB" if file.exists() else "not there before the first load"


def _automation(account: Account) -> Examined:
    with instance() as history:
        beats = [beat.timestamp for beat in history.get_daemon_heartbeats().values()]
    last = datetime.fromtimestamp(max(beats), UTC) if beats else None
    is_running = last is not None and datetime.now(UTC) - last < _DAEMON_SILENT
    daemon = "Dagster's daemon runs" if is_running else "Dagster's daemon does not run"
    if account.automation.enabled and not is_running:
        return Examined("automation", "WARN", f"Schedules and sensors are on, but {daemon}: start it, or `make dev`.")
    return Examined("automation", "passed", f"{'on' if account.automation.enabled else 'off by setting'}; {daemon}")


def _alerts(account: Account, *, send_alert: bool) -> Iterator[Examined]:
    try:
        ways = channels(AlertSettings.read(account.name, account.alerts))
    except CrmAssetsError as error:
        yield Examined("alerts", "ERROR", str(error), error)
        return
    if not ways:
        yield Examined("alerts", "WARN" if send_alert else "passed", "No channel is configured: nobody is told.")
    for name, send in ways.items():
        if not send_alert:
            yield Examined("alerts", "passed", f"{name}, not tried: --send-alert sends a test message")
            continue
        try:
            send(Message(f"Test of the alerts of {account.name}", "Sent by `crm-assets doctor --send-alert`.", True))
        except CrmAssetsError as error:
            yield Examined("alerts", "ERROR", str(error), error)
        else:
            yield Examined("alerts", "passed", f"{name}: the test message was delivered")
