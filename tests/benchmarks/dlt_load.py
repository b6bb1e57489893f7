"""Loads a table into DuckDB with dlt, by its fastest backend; runs in an environment of its own.

Arguments: the database's URL, a folder for the state, and the table. A second call with the same
folder loads what changed since. Prints the rows and the seconds of the load, imports left aside.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit


def main(url: str, folder: Path, table: str) -> None:
    """Load what is new."""
    os.environ.update(
        RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR", DLT_DATA_DIR=str(folder)
    )
    import dlt
    from dlt.sources.sql_database import sql_table

    pipeline = dlt.pipeline(
        "peer",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "peer.duckdb")),
        dataset_name="shop",
    )
    source = sql_table(
        credentials=url,
        table=table,
        backend="connectorx",
        backend_kwargs={"conn": _for_connectorx(url)},
        incremental=dlt.sources.incremental("changed_at"),
        write_disposition="append",
    )
    start = time.perf_counter()
    pipeline.run(source)
    took = time.perf_counter() - start
    rows = pipeline.last_trace.last_normalize_info.row_counts[table]
    print(json.dumps({"rows": rows, "seconds": took}))


def _for_connectorx(url: str) -> str:
    """Return the URL with the server's socket, where it has one, in the place of its host."""
    parts = urlsplit(url)
    socket = parse_qs(parts.query).get("host")
    if not socket:
        return url
    user = parts.netloc.rpartition("@")[0]
    return f"{parts.scheme}://{user}@{quote(socket[0], safe='')}{parts.path}"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
