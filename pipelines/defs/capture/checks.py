"""Checks of the lake that stand before anything is built from it."""

from pathlib import Path

import dagster as dg

from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines.defs.capture.assets import CHANGES
from pipelines.lib import (
    idle,
    lake,
    objects,
    past,
    quarantine,
    rebuilding,
    status,
    suites,
    upstream,
)
from pipelines.lib.expectations import Outcome
from pipelines.lib.screening import FEW, SHARE
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
    " operations, no change twice, payloads that are JSON. A change that breaks a rule goes to the"
    " quarantine and is told; more of them than a file may have block.",
)
def landed_changes(run: PipelineRun) -> dg.AssetCheckResult:
    """Validate what landed since the last snapshot, in this run or in one that failed."""
    shop = settings()
    folder = shop.lake / "changes"
    with run.journal.stage("check the landed changes") as stage:
        new = _unpublished(folder)
        outcome = Outcome("landed_changes", ())
        if new:
            outcome = suites.validate_landed(new, quarantine.decided(folder))
        sorting = quarantine.sort(
            folder,
            [] if outcome.passed else new,
            Cursor() if outcome.passed else rebuilding.reached(shop.warehouse),
            objects.opened(shop.lake_store),
        )
        stage.note = sorting.detail or (outcome.detail if new else "nothing landed")
    run.journal.quarantine = sorting.entries
    detail = stage.note
    if not outcome.passed and outcome.severity == "ERROR":
        detail = f"more than {FEW} changes and {SHARE:.0%} of a file broke a rule; {detail}"
    return run.suite_result(
        CHANGES,
        "landed_changes",
        outcome,
        passed=outcome.passed and not sorting.held,
        severity="WARN" if outcome.passed else outcome.severity,
        detail=detail,
        is_news=sorting.entered > 0,
    )


def _unpublished(folder: Path) -> list[Path]:
    """Return the files with changes that no snapshot has; all of them where the past is new."""
    basis = status.last_basis(settings().published)
    seen = basis is not None and basis.past == past.number(folder)
    published = Cursor.parse(basis.cursor) if basis is not None and seen else Cursor()
    return [file.path for file in lake.landed(folder) if file.upto > published]
