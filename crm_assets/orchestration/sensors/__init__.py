"""What watches the CRM and the runs of an account: changes, recovery, alerts, retention."""

import dagster as dg

from crm_assets.account import Account
from crm_assets.orchestration.sensors.alerts import alerts_sensor
from crm_assets.orchestration.sensors.changes import changes_sensor
from crm_assets.orchestration.sensors.recovery import recovery_sensor
from crm_assets.orchestration.sensors.retention import retention_sensor

__all__ = ["build_sensors"]


def build_sensors(account: Account) -> list[dg.SensorDefinition]:
    """Return the sensors of `account`."""
    return [changes_sensor(account), recovery_sensor(account), alerts_sensor(account), retention_sensor(account)]
