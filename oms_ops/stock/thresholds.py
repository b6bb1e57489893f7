"""How low a level may fall before somebody is told, and what was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_PLAN, STOCK_READ, Actor
from oms_ops.database import as_rows, execute, for_update, read_time, rowset
from oms_ops.stock import alerts
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names


@dataclass(frozen=True, slots=True)
class Threshold:
    """Alert when ``units`` or fewer of a SKU are available in a warehouse (codes); None: never."""

    sku: str
    warehouse: str
    units: int | None


_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}
_ROW = {**_PAIR, "threshold": "bigint"}


def put(connection: Connection, actor: Actor, thresholds: Sequence[Threshold]) -> int:
    """Set thresholds; return how many differ from what was set before.

    A level that is at or below its new threshold, and was not at the old one, is an alert at once:
    every level that is low then has one.

    Raises:
        ValidationFailed: with every bad field.
    """
    actor.require(STOCK_PLAN)
    wanted = _checked(connection, thresholds)
    rows = as_rows(
        {"warehouse_id": w, "sku_id": s, "threshold": units} for (w, s), units in wanted.items()
    )
    stamp = stamp_of(connection, actor)
    source = f"({rowset(connection, 'rows', _ROW)}) AS r"
    execute(
        connection,
        "INSERT INTO stock_levels (warehouse_id, sku_id, on_hand, allocated, version, changed_by,"
        f" changed_at) SELECT warehouse_id, sku_id, 0, 0, 1, :actor, :now FROM {source}"
        " WHERE true ORDER BY sku_id, warehouse_id ON CONFLICT (sku_id, warehouse_id) DO NOTHING",
        {"rows": rows, **stamp},
    )
    clause = for_update(connection)
    before = execute(
        connection,
        "SELECT v.id, v.warehouse_id, v.sku_id, v.low_threshold, v.on_hand - v.allocated"
        f" FROM stock_levels AS v JOIN {source}"
        " ON r.sku_id = v.sku_id AND r.warehouse_id = v.warehouse_id"
        f" ORDER BY v.id {clause and clause + ' OF v'}",
        {"rows": rows},
    ).fetchall()
    changed = [row for row in before if row[3] != wanted[row[1], row[2]]]
    _write(connection, changed, wanted, stamp)
    _alert(connection, changed, wanted, stamp)
    return len(changed)


def _checked(
    connection: Connection, thresholds: Sequence[Threshold]
) -> dict[tuple[int, int], int | None]:
    names = Names(connection, "The list of thresholds")
    names.some("thresholds", thresholds)
    at = [f"thresholds[{i}]" for i in range(len(thresholds))]
    skus = names.skus((f"{f}.sku", t.sku) for f, t in zip(at, thresholds, strict=True))
    sites = names.warehouses(
        (f"{f}.warehouse", t.warehouse) for f, t in zip(at, thresholds, strict=True)
    )
    wanted: dict[tuple[int, int], int | None] = {}
    for field, t in zip(at, thresholds, strict=True):
        if t.units is not None:
            names.units(f"{field}.units", t.units, least=0)
        pair = (sites.get(t.warehouse, 0), skus.get(t.sku, 0))
        if all(pair) and pair in wanted:
            names.fault(field, "duplicate", f"{t.sku} at {t.warehouse} is named twice")
        wanted[pair] = t.units
    names.check()
    return wanted


def _write(
    connection: Connection,
    changed: Sequence[Any],
    wanted: dict[tuple[int, int], int | None],
    stamp: dict[str, Any],
) -> None:
    execute(
        connection,
        "UPDATE stock_levels AS v SET low_threshold = r.threshold, version = v.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', {'id': 'bigint', 'threshold': 'bigint'})}) AS r"
        " WHERE v.id = r.id",
        {
            "rows": as_rows({"id": row[0], "threshold": wanted[row[1], row[2]]} for row in changed),
            **stamp,
        },
    )


def _alert(
    connection: Connection,
    changed: Sequence[Any],
    wanted: dict[tuple[int, int], int | None],
    stamp: dict[str, Any],
) -> None:
    """Raise the alert of each level that the new threshold, and not the old one, calls low."""
    crossed, low = [], []
    for level_id, warehouse_id, sku_id, old, available in changed:
        new = wanted[warehouse_id, sku_id]
        if new is not None and available <= new and (old is None or available > old):
            low.append(level_id)
            # To the alerts, a threshold that rose past a level is a level that fell past it.
            fallen = new - available + 1
            crossed.append({"warehouse_id": warehouse_id, "sku_id": sku_id, "quantity": fallen})
    if low:
        query = rowset(connection, "crossed", {**_PAIR, "quantity": "bigint"})
        alerts.raise_crossed(connection, low, query, {"crossed": as_rows(crossed), **stamp})


def raised(
    connection: Connection,
    actor: Actor,
    *,
    only_open: bool = False,
    sku: str | None = None,
    warehouse: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of alerts, newest first, and the cursor of the next page.

    An alert is open while its level is low and no later alert tells so.
    """
    actor.require(STOCK_READ)
    open_ = (
        "(v.on_hand - v.allocated <= v.low_threshold AND NOT EXISTS (SELECT 1 FROM stock_alerts"
        " AS n WHERE n.sku_id = a.sku_id AND n.warehouse_id = a.warehouse_id AND n.id > a.id))"
    )
    rows = connection.execute(
        sa.text(
            "SELECT a.id, k.code AS sku, k.name, w.code AS warehouse, a.threshold, a.available,"
            " a.raised_at, v.on_hand - v.allocated AS available_now, v.low_threshold,"
            f" {open_} AS is_open FROM stock_alerts AS a"
            " JOIN stock_levels AS v ON v.sku_id = a.sku_id AND v.warehouse_id = a.warehouse_id"
            " JOIN skus AS k ON k.id = a.sku_id JOIN warehouses AS w ON w.id = a.warehouse_id"
            " WHERE (:after = 0 OR a.id < :after)"
            " AND (CAST(:sku AS text) IS NULL OR k.code = :sku)"
            " AND (CAST(:warehouse AS text) IS NULL OR w.code = :warehouse)"
            f" {f'AND {open_}' if only_open else ''} ORDER BY a.id DESC LIMIT :limit"
        ),
        {"after": after, "sku": sku, "warehouse": warehouse, "limit": limit + 1},
    ).mappings()
    found = [
        {**row, "raised_at": read_time(row["raised_at"]), "is_open": bool(row["is_open"])}
        for row in rows
    ]
    page = found[:limit]
    return page, page[-1]["id"] if len(found) > limit else None
