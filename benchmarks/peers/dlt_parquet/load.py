"""A pipeline of dlt as its guide to performance recommends: parquet, resources at the same time, JSON kept as it is."""

import os

import dlt
from crm_source import crm

if __name__ == "__main__":
    source = crm(parallelized=True)
    source.max_table_nesting = 0
    pipeline = dlt.pipeline(
        "crm", destination=dlt.destinations.duckdb(os.environ["BENCH_DATABASE"]), dataset_name="crm"
    )
    print(pipeline.run(source, loader_file_format="parquet"))
