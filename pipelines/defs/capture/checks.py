"""Checks of the lake that stand before anything is built from it."""

import dagster as dg

from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines.defs.capture.assets import CHANGES
from pipelines.lib import idle, lake, status, suites, upstream
from pipelines.resources import PipelineRun


@dg.asset_check(
    asset=CHANGES,
    blocking=True,
    description="The files cover the feed from its first change on, without hole or overlap.",
)
def lake_is_unbroken(run: PipelineRun) -> dg.AssetCheckResult:
    """Hold the names of the lake's files against one another."""
    files = lake.landed(settings().lake / "changes")
    try:
        lake.verify_chain(files)
    except lake.BrokenChain as broken:
        return run.check_result(CHANGES, "lake_is_unbroken", passed=False, detail=str(broken))
    return run.check_result(CHANGES, "lake_is_unbroken", passed=True, detail=f"{len(files)} files")


@dg.asset_check(
    asset=CHANGES,
    blocking=True,
    description="No column that the models rest on is gone or holds something else. Columns that"
    " the shop has added flow into the staging models.",
)
def upstream_columns(run: PipelineRun) -> dg.AssetCheckResult:
    """Hold the operational tables against what this release knows of them."""
    folder = settings().lake / "changes"
    engine = idle.open_feed()
    try:
        faults, own = upstream.compare(engine, folder)
    finally:
        engine.dispose()
    if not faults:
        upstream.note(folder, own)
    names = ", ".join(f"{entity}.{name}" for entity in own for name in own[entity])
    detail = "; ".join(faults) or (f"the shop's own: {names}" if names else "as declared")
    return run.check_result(CHANGES, "upstream_columns", passed=not faults, detail=detail)


@dg.asset_check(
    asset=CHANGES,
    blocking=True,
    description="Great Expectations on every change that no snapshot has yet: known entities and"
    " operations, no change twice, payloads that are JSON.",
)
def landed_changes(run: PipelineRun) -> dg.AssetCheckResult:
    """Validate what landed since the last snapshot, in this run or in one that failed."""
    with run.journal.stage("check the landed changes") as stage:
        basis = status.last_basis(settings().published)
        published = Cursor.parse(basis.cursor) if basis else Cursor()
        files = lake.landed(settings().lake / "changes")
        new = [file.path for file in files if file.upto > published]
        if not new:
            stage.note = "nothing landed"
            return run.check_result(CHANGES, "landed_changes", passed=True, detail=stage.note)
        outcome = suites.validate_landed(new)
        stage.note = outcome.detail
    return run.check_result(CHANGES, "landed_changes", passed=outcome.passed, detail=outcome.detail)
