"""Imports the files that others drop in a folder, through the importers of the write path."""

import hashlib
from pathlib import Path

import dagster as dg

from oms_ops.access.actor import Actor
from oms_ops.exchange import dropped
from oms_ops.settings import settings
from pipelines.lib import idle
from pipelines.lib.files import exclusive

#: Who stands on what the files bring. They may state prices, as marketplaces do.
INGEST = Actor("drop folder", "admin")


@dg.op(description="Take every file that waits; the rows that are rejected are in a report.")
def ingest_files(context: dg.OpExecutionContext) -> None:
    """Import what lies in the drop folder; a file that breaks off stays for the next time."""
    folder = settings().dropped
    engine = idle.open_feed()
    try:
        with exclusive(settings().home / "ingest.lock", wait_seconds=600):
            for done in dropped.ingest(engine, INGEST, folder):
                tell = context.log.warning if done.refusal or done.rejected else context.log.info
                tell(str(done))
    finally:
        engine.dispose()


@dg.job(description="Files dropped in a folder to orders, supplier prices and stock counts.")
def ingest() -> None:
    """Import the files that wait."""
    ingest_files()


@dg.sensor(
    job=ingest,
    name="dropped_files",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Asks for an import when files lie in the drop folder. Runs where a daemon runs.",
)
def dropped_files() -> dg.RunRequest | dg.SkipReason:
    """Look at the drop folder: the same files do not ask twice, unless they were written anew."""
    folder = settings().dropped
    files = dropped.waiting(folder)
    if not files:
        return dg.SkipReason(f"Nothing waits in {folder}.")
    return dg.RunRequest(run_key=_digest(files))


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        about = path.stat()
        digest.update(f"{path} {about.st_mtime_ns} {about.st_size} {about.st_ino}\n".encode())
    return digest.hexdigest()[:32]
