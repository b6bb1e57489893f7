"""What the pipeline says about the snapshot: checks, reconciliation, timings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

CHECKS: Query = (
    "SELECT CASE WHEN passed THEN 'Passed' WHEN severity = 'ERROR' THEN 'Failed' ELSE 'Warned' END"
    " AS result, check_name, asset, detail FROM meta.check_results"
    " ORDER BY passed, severity, asset, check_name",
    [],
)
QUARANTINE: Query = (
    "SELECT upper(decision[1]) || decision[2:] AS decision, reason, entity, entity_id, op,"
    " epoch || ':' || seq AS change_number, file, CAST(found_at AS DATE) AS found_on"
    " FROM meta.quarantine ORDER BY decision <> 'held', epoch, seq",
    [],
)
RECONCILIATION: Query = (
    "SELECT upper(measure[1]) || replace(split_part(measure[2:], ' in ', 1), '_', ' ') AS measure,"
    " split_part(measure, ' in ', 2) AS mart, operational, warehouse_value, difference,"
    " CASE WHEN is_reconciled THEN 'Yes' ELSE 'No' END AS reconciled"
    " FROM marts.reconciliation ORDER BY is_reconciled, mart, measure",
    [],
)
TIMINGS: Query = (
    "SELECT stage, seconds, rows_read, rows_written, bytes / 1e6 AS megabytes"
    " FROM meta.stage_timings",
    [],
)


def checks(snapshot: Snapshot) -> dict[str, Any]:
    """Return how many checks there were, and how many failed by severity."""
    return snapshot.one(
        "SELECT count(*) AS checks, count(*) FILTER (NOT passed AND severity = 'ERROR') AS errors,"
        " count(*) FILTER (NOT passed AND severity <> 'ERROR') AS warnings FROM meta.check_results"
    )


def quarantine(snapshot: Snapshot) -> pd.DataFrame | None:
    """Return the changes that are set aside, those that wait first; None in older snapshots."""
    table = "table_schema = 'meta' AND table_name = 'quarantine'"
    known = f"SELECT count(*) AS tables FROM information_schema.tables WHERE {table}"
    return snapshot.frame(*QUARANTINE) if snapshot.one(known)["tables"] else None


def reconciliation(snapshot: Snapshot) -> pd.DataFrame:
    """Return the measures with both sides, those that differ first."""
    return snapshot.frame(*RECONCILIATION)
