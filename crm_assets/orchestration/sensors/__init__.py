"""What watches the CRM and the runs: changes, recovery, alerts."""

from crm_assets.orchestration.sensors.alerts import crm_alerts
from crm_assets.orchestration.sensors.changes import crm_changes
from crm_assets.orchestration.sensors.recovery import crm_recovery

__all__ = ["crm_alerts", "crm_changes", "crm_recovery", "sensors"]

sensors = [crm_changes, crm_recovery, crm_alerts]
