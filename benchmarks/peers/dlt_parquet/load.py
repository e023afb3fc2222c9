"""A pipeline of dlt as its guide to performance recommends: parquet, resources at the same time."""

import os

import dlt
from crm_source import crm

if __name__ == "__main__":
    pipeline = dlt.pipeline(
        "crm", destination=dlt.destinations.duckdb(os.environ["BENCH_DATABASE"]), dataset_name="crm"
    )
    print(pipeline.run(crm(parallelized=True), loader_file_format="parquet"))
