"""A pipeline of dlt as it comes: one resource after the other, inserted values."""

import os

import dlt
from crm_source import crm

if __name__ == "__main__":
    pipeline = dlt.pipeline(
        "crm", destination=dlt.destinations.duckdb(os.environ["BENCH_DATABASE"]), dataset_name="crm"
    )
    print(pipeline.run(crm()))
