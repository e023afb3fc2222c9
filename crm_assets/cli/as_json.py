"""What the commands print for scripts. `docs/operations.md` describes it."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crm_assets.extract.probe import Probe
from crm_assets.orchestration.run import Outcome

if TYPE_CHECKING:
    from crm_assets.cli.examine import Examined
    from crm_assets.report.accounts import AccountState


def outcomes_as_json(outcomes: Sequence[Outcome]) -> str:
    """Return what came of the runs of some accounts."""
    return _text({"accounts": [_outcome(one) for one in outcomes]})


def probes_as_json(answers: Mapping[str, Sequence[Probe]]) -> str:
    """Return what each resource answered, by account."""
    return _text({"accounts": [_answers(account, probes) for account, probes in answers.items()]})


def examined_as_json(found: "Mapping[str, Sequence[Examined]]") -> str:
    """Return what was looked at, by account."""
    accounts = [
        {
            "account": account,
            "ok": all(one.state != "ERROR" for one in examined),
            "examined": [{"what": one.what, "outcome": one.state, "found": one.found} for one in examined],
        }
        for account, examined in found.items()
    ]
    return _text({"accounts": accounts})


def accounts_as_json(states: "Sequence[AccountState]") -> str:
    """Return how each account stands."""
    accounts = [
        {
            "account": one.name,
            "ok": one.state != "ERROR",
            "state": one.state,
            "said": one.said,
            "dataset": one.dataset,
            "loaded_at": one.loaded_at.strftime("%Y-%m-%dT%H:%M:%SZ") if one.loaded_at else None,
            "freshness": one.freshness.state if one.freshness else None,
        }
        for one in states
    ]
    return _text({"accounts": accounts})


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "account": outcome.account.name,
        "dataset": outcome.account.dataset,
        "ok": outcome.problem is None and all(one.state != "ERROR" for one in outcome.checked),
        "problem": outcome.problem,
        "loaded": [{"resource": one.resource, **one.counts, "seconds": one.fetch_seconds} for one in outcome.landed],
        "checks": [
            {"asset": one.key, "name": one.name, "outcome": one.state, "description": one.description}
            for one in outcome.checked
        ],
    }


def _answers(account: str, probes: Sequence[Probe]) -> dict[str, Any]:
    return {
        "account": account,
        "ok": not any(probe.error for probe in probes),
        "resources": [
            {
                "resource": probe.resource,
                "ok": probe.error is None,
                "records": probe.records,
                "milliseconds": round(probe.seconds * 1000),
                "problem": probe.error.why if probe.error else None,
                "observed": [
                    {"request": one.request or None, "content_type": one.content_type, "facts": list(one.facts)}
                    for one in probe.observations
                ],
            }
            for probe in probes
        ],
    }


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
