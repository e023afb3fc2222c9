"""The assets, as a run of Dagster: seconds from the start of the run to the last table.

    python -m benchmarks.assets

Address, login and warehouse come from the environment, Dagster's history goes to DAGSTER_HOME.
"""

import dagster as dg

from crm_assets.definitions import defs


def main() -> None:
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_job_def("crm_all").execute_in_process(
            instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        )
        events = instance.all_logs(result.run_id)
    started = next(event.timestamp for event in events if event.dagster_event_type is dg.DagsterEventType.RUN_START)
    landed = [
        event.timestamp for event in events if event.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION
    ]
    print(f"{max(landed) - started:.3f}")


if __name__ == "__main__":
    main()
