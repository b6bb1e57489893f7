"""The statements that change ``stock_levels``: guarded, sets of pairs, one order of locks.

Only :mod:`oms_ops.stock.ledger` and :mod:`oms_ops.stock.places` use them: a level changes together
with its moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_rows, as_time, execute, for_update, rowset
from oms_ops.errors import Conflict, FieldError
from oms_ops.stock import alerts

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}
_PAIRS = {"warehouse_id": "bigint", "sku_id": "bigint", "quantity": "bigint"}
_COSTED = {**_PAIRS, "cost_e4": "bigint"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """``quantity`` units of a SKU in a warehouse."""

    warehouse_id: int
    sku_id: int
    quantity: int


def stamp_of(connection: Connection, actor: Actor) -> dict[str, Any]:
    """Return who and when, as parameters ``:actor`` and ``:now``."""
    return {"actor": actor.name, "now": as_time(connection, clock.now())}


def total(quantities: Iterable[Quantity]) -> list[dict[str, Any]]:
    """Return one row a pair: a SKU on several lines is one claim on one level."""
    totals: dict[tuple[int, int], int] = {}
    for q in quantities:
        key = (q.sku_id, q.warehouse_id)
        totals[key] = totals.get(key, 0) + q.quantity
    return [
        {"warehouse_id": warehouse_id, "sku_id": sku_id, "quantity": quantity}
        for (sku_id, warehouse_id), quantity in sorted(totals.items())
    ]


def update(
    connection: Connection,
    actor: Actor,
    totals: list[dict[str, Any]],
    change: str,
    guard: str,
    *,
    drops: bool = False,
) -> int:
    """Change the levels of ``totals`` that pass the guard; return how many did.

    ``change`` and ``guard`` are SQL on the level ``l`` and the wanted ``d.quantity``. ``drops``
    tells that the change makes ``quantity`` units less available: a threshold may be crossed.
    """
    if not totals:
        return 0
    parameters = {"rows": as_rows(totals), **stamp_of(connection, actor)}
    wanted = rowset(connection, "rows", _PAIRS, count=len(totals))
    return update_from(connection, wanted, change, guard, parameters, drops=drops)


def update_from(
    connection: Connection,
    wanted: str,
    change: str,
    guard: str,
    parameters: dict[str, Any],
    *,
    drops: bool = False,
) -> int:
    """Do as :func:`update` for what the query ``wanted`` selects; ``parameters`` hold the stamp."""
    changed = execute(
        connection, update_sql(connection, wanted, change, guard, drops=drops), parameters
    ).fetchall()
    if drops and (low := [row[0] for row in changed if row[0] is not None]):
        alerts.raise_crossed(connection, low, wanted, parameters)
    return len(changed)


def update_sql(
    connection: Connection, wanted: str, change: str, guard: str, *, drops: bool = False
) -> str:
    """Return the statement of :func:`update_from`: a row for each level that passed the guard."""
    # The inner query locks the rows in the order of their ids: UPDATE ... FROM alone would lock
    # them in whatever order its plan visits.
    clause = for_update(connection)
    return (
        f"UPDATE stock_levels AS l SET {change}, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        " FROM (SELECT s.id AS level_id, r.quantity FROM stock_levels AS s"
        f" JOIN ({wanted}) AS r"
        " ON r.sku_id = s.sku_id AND r.warehouse_id = s.warehouse_id"
        f" ORDER BY s.id {clause and clause + ' OF s'}) AS d"
        # Rows, unlike a row count, can be waited for inside a pipeline.
        f" WHERE l.id = d.level_id {guard} RETURNING {alerts.LOW if drops else 'NULL'} AS low"
    )


def add(
    connection: Connection, actor: Actor, incoming: Sequence[tuple[Quantity, int | None]]
) -> None:
    """Raise levels, creating those that do not exist; with each quantity its unit's cost, if known.

    Costs are minor units; the level's moving average takes them in, weighted by units.
    """
    totals = total(quantity for quantity, _ in incoming)
    costs: dict[tuple[int, int], list[int]] = {}
    for q, cost in incoming:
        if cost is not None:
            known = costs.setdefault((q.warehouse_id, q.sku_id), [0, 0])
            known[0] += q.quantity
            known[1] += q.quantity * cost
    for row in totals:
        units, value = costs.get((row["warehouse_id"], row["sku_id"]), (0, 0))
        row["cost_e4"] = (value * 20_000 + units) // (2 * units) if units else None
    execute(
        connection,
        "INSERT INTO stock_levels (warehouse_id, sku_id, on_hand, allocated, average_cost_e4,"
        " version, changed_by, changed_at)"
        " SELECT d.warehouse_id, d.sku_id, d.quantity, 0, d.cost_e4, 1, :actor, :now"
        # WHERE keeps SQLite's parser from reading ON CONFLICT as a join condition.
        f" FROM ({rowset(connection, 'rows', _COSTED)}) AS d WHERE true"
        " ORDER BY d.sku_id, d.warehouse_id"
        " ON CONFLICT (sku_id, warehouse_id) DO UPDATE SET"
        " on_hand = stock_levels.on_hand + excluded.on_hand,"
        " average_cost_e4 = CASE"
        " WHEN excluded.average_cost_e4 IS NULL THEN stock_levels.average_cost_e4"
        " WHEN stock_levels.average_cost_e4 IS NULL OR stock_levels.on_hand = 0"
        " THEN excluded.average_cost_e4"
        # The factor keeps a large stock of a dear SKU from overflowing.
        " ELSE CAST(round((1.0 * stock_levels.on_hand * stock_levels.average_cost_e4"
        " + 1.0 * excluded.on_hand * excluded.average_cost_e4)"
        " / (stock_levels.on_hand + excluded.on_hand)) AS bigint) END,"
        " version = stock_levels.version + 1,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
        {"rows": as_rows(totals), **stamp_of(connection, actor)},
    )


def refuse_empty_floor(connection: Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Raise Conflict where bins hold more of a pair (warehouse id, SKU id) than the warehouse has.

    Call it after a change, while the levels are locked: then nobody moves goods in between.
    """
    row = execute(
        connection,
        "SELECT k.code, w.code, v.on_hand, b.units FROM ("
        "SELECT p.warehouse_id, c.sku_id, sum(c.quantity) AS units"
        f" FROM ({rowset(connection, 'pairs', _PAIR)}) AS r"
        " JOIN location_levels AS c ON c.sku_id = r.sku_id"
        " JOIN locations AS p ON p.id = c.location_id AND p.kind = 'bin'"
        " AND p.warehouse_id = r.warehouse_id GROUP BY p.warehouse_id, c.sku_id) AS b"
        " JOIN stock_levels AS v ON v.sku_id = b.sku_id AND v.warehouse_id = b.warehouse_id"
        " JOIN skus AS k ON k.id = b.sku_id JOIN warehouses AS w ON w.id = b.warehouse_id"
        " WHERE b.units > v.on_hand ORDER BY k.code LIMIT 1",
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(set(pairs)))},
    ).fetchone()
    if row is not None:
        sku, warehouse, on_hand, binned = row
        raise Conflict(
            f"{sku} at {warehouse}: only {on_hand} would be left while bins hold {binned};"
            " pick or move them from their bins first.",
            [FieldError("sku", "still_in_bins", f"{sku} lies in bins of {warehouse}")],
        )
