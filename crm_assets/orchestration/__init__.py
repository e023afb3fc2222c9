"""Everything that knows Dagster: assets, checks, jobs, schedules, sensors, resources."""
