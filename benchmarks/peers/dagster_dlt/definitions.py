"""The pipeline of dlt with parquet as Dagster's assets, as the guide of dagster-dlt has it."""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import dlt
from crm_source import crm
from dagster_dlt import DagsterDltResource, dlt_assets


@dlt_assets(
    dlt_source=crm(parallelized=True),
    dlt_pipeline=dlt.pipeline(
        "crm", destination=dlt.destinations.duckdb(os.environ["BENCH_DATABASE"]), dataset_name="crm"
    ),
    name="crm",
    group_name="crm",
)
def crm_assets(context: dg.AssetExecutionContext, dlt_resource: DagsterDltResource) -> Iterator[Any]:
    """Load all resources."""
    yield from dlt_resource.run(context=context, loader_file_format="parquet")


defs = dg.Definitions(
    assets=[crm_assets],
    resources={"dlt_resource": DagsterDltResource()},
    executor=dg.in_process_executor,  # the default starts one more process for the only step
)
