"""When the CRM was last asked, and how it answered: observations of its asset."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from crm_assets.account import Account
from crm_assets.errors import LoginRefused
from crm_assets.orchestration.keys import api_asset_key
from crm_assets.orchestration.metadata import address
from crm_assets.text import counted

if TYPE_CHECKING:
    from crm_assets.extract.probe import Probe

AT_LEAST = timedelta(hours=1)
"""Time between two observations of the same outcome. Nothing deletes them from Dagster's history."""


def record_ping(instance: dg.DagsterInstance, account: Account, probes: "Sequence[Probe]") -> None:
    """Record how the CRM of `account` answered, unless the same was recorded within the hour.

    What was observed of its habits is recorded with it, and once in the hour where only the outcome was.
    """
    if not probes:
        return
    now, outcome = datetime.now(UTC), _outcome(probes)
    observed = {probe.resource: [str(one) for one in probe.observations] for probe in probes if probe.observations}
    for record in instance.fetch_observations(api_asset_key(account), limit=1).records:
        before = record.asset_observation.metadata if record.asset_observation else {}
        is_recent = now - datetime.fromtimestamp(record.timestamp, UTC) < AT_LEAST
        says_more = bool(observed) and "observed" not in before
        if (
            is_recent
            and not says_more
            and [before.get("address"), before.get("outcome")] == [address(account), outcome]
        ):
            return
    errors = [one.error for one in probes if one.error]
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "address": address(account),
        "outcome": outcome,
        "milliseconds": dg.MetadataValue.int(round(1000 * sum(one.seconds for one in probes) / len(probes))),
    }
    if errors:
        metadata["problem"] = dg.MetadataValue.text(f"{errors[0].resource}: {errors[0].why}")
    if observed:
        metadata["observed"] = dg.MetadataValue.json(observed)
    observation = dg.AssetObservation(
        api_asset_key(account), f"{counted(len(probes), 'request')}: {outcome.value}.", metadata=metadata
    )
    instance.report_runless_asset_event(observation)


def _outcome(probes: "Sequence[Probe]") -> dg.TextMetadataValue:
    errors = [one.error for one in probes if one.error]
    if not errors:
        return dg.MetadataValue.text("the CRM answers")
    if any(isinstance(error, LoginRefused) and error.status == 401 for error in errors):
        return dg.MetadataValue.text("the CRM refuses the login")
    if len(errors) < len(probes):
        return dg.MetadataValue.text("the CRM answers for some resources only")
    return dg.MetadataValue.text("the CRM does not answer as it should")
