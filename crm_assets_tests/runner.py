"""Runs of the assets in processes of their own, which can be killed at any moment and start at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import dagster as dg

from crm_assets.account import Account
from crm_assets_tests.conftest import an_account, run_assets

_CONTEXT = multiprocessing.get_context("forkserver")
# Also what a run imports only when it begins.
_CONTEXT.set_forkserver_preload(
    ["crm_assets_tests.runner", "crm_assets.orchestration.sync", "crm_assets.load.warehouse"]
)


@dataclass(frozen=True)
class Outcome:
    """What came of a run: for each table that landed, how many records an earlier attempt had read."""

    success: bool
    landed: dict[str, int]
    problem: str


class Run:
    """One run in a process of its own.

    Args:
        home: Dagster's home.
        environment: variables for the process.
        resources: what it loads.
        account: returns the account there; the one that the settings say.
    """

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        resources: Sequence[str],
        account: Callable[[], Account] = an_account,
    ) -> None:
        self._receiving, sending = _CONTEXT.Pipe(duplex=False)
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_execute, args=(str(home), environment, list(resources), account, sending)
        )
        self._process.start()
        sending.close()

    def is_alive(self) -> bool:
        """Return whether it still works."""
        return self._process.is_alive()

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end for so long, and return whether it came."""
        self._process.join(seconds)
        return not self._process.is_alive()

    def kill(self) -> None:
        """Kill the process; nothing of it gets a chance to tidy up."""
        self._process.kill()
        self._process.join()

    def interrupt(self) -> None:
        """Send the process what Ctrl-C sends; it may tidy up, and end when it likes."""
        if self._process.pid:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def outcome(self) -> Outcome:
        """Wait for its end and return what came of it."""
        outcome = self._receiving.recv()
        self._process.join()
        assert isinstance(outcome, Outcome)
        return outcome


def _execute(
    home: str, environment: dict[str, str], resources: list[str], account: Callable[[], Account], sending: Connection
) -> None:
    os.environ.update(environment)
    logging.disable(logging.CRITICAL)
    with dg.DagsterInstance.local_temp(home) as instance:
        whose = account()
        result = run_assets(instance, resources, account=whose)
        names = resources or [one.name for one in whose.resources]
        landed = {
            name: _resumed(event.materialization)
            for event in (one.step_materialization_data for one in result.get_asset_materialization_events())
            if (name := event.materialization.asset_key.path[-1]) in names  # not its history
        }
        problems = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        stated = problems[-1].user_failure_data if problems else None
        unstated = problems[-1].error_display_string if problems else ""
        sending.send(Outcome(result.success, landed, (stated.description if stated else unstated) or ""))


def _resumed(materialization: dg.AssetMaterialization) -> int:
    found = materialization.metadata.get("records_resumed")
    return int(str(found.value)) if found else 0
