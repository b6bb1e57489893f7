"""Cycle counts: open one for some places, enter what was counted, reject it.

What the books say of a place is taken at the moment at which its count is entered, in the same
statement. The variance, counted less expected, then stays what was lost or found, whatever moves
afterwards: approval posts that difference, never the counted figure itself. Lines whose goods moved
since say so, for an approver who would rather have them counted again.

The floor is counted without goods that were picked: they wait in their totes for the carrier.
:func:`oms_ops.fulfilment.counting.approve` posts a count, since what is found fills backorders and
what is missing may be promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_APPROVE, STOCK_WRITE, Actor
from oms_ops.database import as_rows, execute, for_update, rowset
from oms_ops.errors import Conflict, FieldError, NotFound
from oms_ops.stock.floor import BINNED, JOIN_STAGED, WITH_STAGED
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names
from oms_ops.stock.tables import StockCount

#: The places that are counted.
KINDS = ("bin", "storage", "quarantine")


@dataclass(frozen=True, slots=True)
class Counted:
    """``units`` of a SKU were counted in a place (codes)."""

    location: str
    sku: str
    units: int


@dataclass(frozen=True, slots=True)
class Head:
    """A count as it was when its row was locked."""

    id: int
    number: str
    warehouse_id: int
    status: str


#: What the books say of SKU ``x.sku_id`` in the place ``p`` of the warehouse ``x.warehouse_id``;
#: ``g`` is what stands picked there.
_EXPECTED = (
    "CASE WHEN p.kind = 'storage' THEN"
    " coalesce((SELECT v.on_hand FROM stock_levels AS v"
    "  WHERE v.sku_id = x.sku_id AND v.warehouse_id = x.warehouse_id), 0)"
    f" - {BINNED} - coalesce(g.units, 0)"
    " ELSE coalesce((SELECT e.quantity FROM location_levels AS e"
    "  WHERE e.sku_id = x.sku_id AND e.location_id = p.id), 0) END"
)


def open_count(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    *,
    locations: Sequence[str] = (),
    zone: str | None = None,
    skus: Sequence[str] = (),
    reason: str = "",
) -> str:
    """Open a count of places, of a zone's bins, or of SKUs wherever they are; return its number.

    Its lines are the SKUs that the books know there; what is found beyond them can be entered too.

    Raises:
        ValidationFailed: with every bad field; nothing is chosen.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The count")
    warehouse_id = names.warehouse("warehouse", warehouse)
    places = names.places(
        ((f"locations[{i}]", code) for i, code in enumerate(locations)), warehouse_id, KINDS
    )
    sku_ids = names.skus((f"skus[{i}]", code) for i, code in enumerate(skus))
    if not locations and not skus and zone is None:
        names.fault("locations", "required", "name locations, a zone or SKUs")
    names.check()
    now = clock.now()
    stored = connection.execute(
        sa.insert(StockCount)
        .values(
            warehouse_id=warehouse_id,
            status="open",
            reason=reason,
            created_at=now,
            created_by=actor.name,
            changed_by=actor.name,
            changed_at=now,
        )
        .returning(StockCount.id, StockCount.number)
    ).one()
    _write_lines(connection, actor, stored.id, warehouse_id, [p.id for p in places.values()],
                 zone, list(sku_ids.values()))  # fmt: skip
    return str(stored.number)


def _write_lines(
    connection: Connection,
    actor: Actor,
    count_id: int,
    warehouse_id: int,
    place_ids: Sequence[int],
    zone: str | None,
    sku_ids: Sequence[int],
) -> None:
    """Write a line for each SKU that the books know in the chosen places."""
    id_column = {"id": "bigint"}
    named = f"(SELECT id FROM ({rowset(connection, 'places', id_column)}) AS n)"
    wanted = f"(SELECT id FROM ({rowset(connection, 'skus', id_column)}) AS n)"
    chosen = [f"p.id IN {named}"] if place_ids else []
    chosen += ["p.kind = 'bin' AND p.zone = :zone"] if zone is not None else []
    places = f"({' OR '.join(chosen)})" if chosen else "p.kind IN ('bin', 'storage')"
    places = f"p.warehouse_id = :warehouse AND p.is_active AND {places}"
    only = f"AND x.sku_id IN {wanted}" if sku_ids else ""
    # A SKU that was asked for has a line on the floor even where the books say there is none.
    there = "" if sku_ids else f"AND {_EXPECTED} > 0"
    execute(
        connection,
        f"{WITH_STAGED}INSERT INTO stock_count_lines"
        " (stock_count_id, location_id, sku_id, version, changed_by, changed_at)"
        " SELECT :count, c.location_id, c.sku_id, 1, :actor, :now FROM ("
        "SELECT p.id AS location_id, x.sku_id FROM locations AS p"
        " JOIN location_levels AS x ON x.location_id = p.id AND x.quantity > 0"
        f" WHERE {places} {only} UNION ALL SELECT p.id, x.sku_id FROM locations AS p"
        f" JOIN stock_levels AS x ON x.warehouse_id = p.warehouse_id{JOIN_STAGED}"
        f" WHERE p.kind = 'storage' AND {places} {only} {there}"
        ") AS c ORDER BY c.location_id, c.sku_id",
        {
            "count": count_id,
            "warehouse": warehouse_id,
            "zone": zone,
            "places": as_rows({"id": place_id} for place_id in place_ids),
            "skus": as_rows({"id": sku_id} for sku_id in sku_ids),
            **stamp_of(connection, actor),
        },
    )


def duplicates(counted: Sequence[Counted]) -> list[FieldError]:
    """Return which lines name a SKU in a place that one before them names."""
    seen: set[tuple[str, str]] = set()
    faults = []
    for index, c in enumerate(counted):
        if (c.location, c.sku) in seen:
            message = f"{c.sku} in {c.location} is named twice"
            faults.append(FieldError(f"lines[{index}]", "duplicate", message))
        seen.add((c.location, c.sku))
    return faults


_ROW = {"location_id": "bigint", "sku_id": "bigint", "units": "bigint"}


def enter(connection: Connection, actor: Actor, number: str, counted: Sequence[Counted]) -> None:
    """Enter what was counted; a line can be counted again until the count is decided.

    The count waits for approval once every line has a figure.

    Raises:
        NotFound: there is no such count.
        ValidationFailed: with every bad field.
        Conflict: it was approved or rejected.
    """
    actor.require(STOCK_WRITE)
    head = locked(connection, number, ("open", "counted"), "be counted")
    names = Names(connection, "The count")
    names.some("lines", counted)
    skus = names.skus((f"lines[{i}].sku", c.sku) for i, c in enumerate(counted))
    places = names.places(
        ((f"lines[{i}].location", c.location) for i, c in enumerate(counted)),
        head.warehouse_id,
        KINDS,
    )
    for index, c in enumerate(counted):
        names.units(f"lines[{index}].units", c.units, least=0)
    names.errors += duplicates(counted)
    names.check()
    stamp = stamp_of(connection, actor)
    execute(
        connection,
        f"{WITH_STAGED}INSERT INTO stock_count_lines (stock_count_id, location_id, sku_id,"
        " expected, counted, version, changed_by, changed_at)"
        f" SELECT :count, x.location_id, x.sku_id, {_EXPECTED}, x.units, 1, :actor, :now"
        f" FROM (SELECT r.location_id, r.sku_id, r.units, q.warehouse_id FROM"
        f" ({rowset(connection, 'rows', _ROW)}) AS r JOIN locations AS q ON q.id = r.location_id)"
        f" AS x JOIN locations AS p ON p.id = x.location_id{JOIN_STAGED} WHERE true"
        " ORDER BY x.location_id, x.sku_id"
        " ON CONFLICT (stock_count_id, location_id, sku_id) DO UPDATE SET"
        " expected = excluded.expected, counted = excluded.counted,"
        " version = stock_count_lines.version + 1,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
        {
            "count": head.id,
            "rows": as_rows(
                {"location_id": places[c.location].id, "sku_id": skus[c.sku], "units": c.units}
                for c in counted
            ),
            **stamp,
        },
    )
    left = (
        "EXISTS (SELECT 1 FROM stock_count_lines AS l"
        " WHERE l.stock_count_id = stock_counts.id AND l.counted IS NULL)"
    )
    execute(
        connection,
        f"UPDATE stock_counts SET status = CASE WHEN {left} THEN 'open' ELSE 'counted' END,"
        f" counted_at = CASE WHEN {left} THEN NULL ELSE :now END, version = version + 1,"
        " changed_by = :actor, changed_at = :now WHERE id = :id",
        {"id": head.id, **stamp},
    )


def reject(connection: Connection, actor: Actor, number: str) -> None:
    """Reject a count: nothing is posted.

    Raises:
        NotFound: there is no such count.
        Conflict: it was decided already.
    """
    actor.require(STOCK_APPROVE)
    head = locked(connection, number, ("open", "counted"), "be rejected")
    decide(connection, actor, head, "rejected")


def decide(connection: Connection, actor: Actor, head: Head, status: str) -> None:
    """Write down who approved or rejected a locked count, and when."""
    execute(
        connection,
        "UPDATE stock_counts SET status = :status, decided_at = :now, decided_by = :actor,"
        " version = version + 1, changed_by = :actor, changed_at = :now WHERE id = :id",
        {"id": head.id, "status": status, **stamp_of(connection, actor)},
    )


def locked(connection: Connection, number: str, statuses: Sequence[str], step: str) -> Head:
    """Lock a count for the rest of the transaction; refuse unless it has one of ``statuses``."""
    row = execute(
        connection,
        "SELECT id, number, warehouse_id, status FROM stock_counts"
        f" WHERE number = :number {for_update(connection)}",
        {"number": number},
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no count {number}.")
    head = Head(*row)
    if head.status not in statuses:
        why = f"{head.number} is {head.status.replace('_', ' ')}"
        if head.status == "open":
            left = [line["counted"] for line in lines(connection, head.id)].count(None)
            why += f", {left} of its lines not being counted yet"
        message = f"{why}: it cannot {step}"
        raise Conflict(f"{message}.", [FieldError("number", "wrong_status", message)])
    return head


def lines(connection: Connection, count_id: int) -> list[dict[str, Any]]:
    """Return a count's lines with their variance (None: not counted yet).

    ``moved_since`` tells that the SKU moved in or out of the place after it was counted.
    """
    rows = connection.execute(
        sa.text(
            "SELECT l.location_id, l.sku_id, p.code AS location, p.zone, k.code AS sku, k.name,"
            " l.expected, l.counted, l.counted - l.expected AS variance,"
            " CASE WHEN l.counted IS NULL THEN NULL ELSE l.changed_by END AS counted_by,"
            " l.counted IS NOT NULL AND EXISTS (SELECT 1 FROM stock_moves AS m"
            "  WHERE m.sku_id = l.sku_id AND m.occurred_at > l.changed_at"
            "  AND (m.from_location_id = p.id OR m.to_location_id = p.id)"
            "  AND (s.decided_at IS NULL OR m.occurred_at < s.decided_at)"
            "  AND (m.reference IS NULL OR m.reference <> s.number)) AS moved_since"
            " FROM stock_count_lines AS l JOIN stock_counts AS s ON s.id = l.stock_count_id"
            " JOIN locations AS p ON p.id = l.location_id JOIN skus AS k ON k.id = l.sku_id"
            " WHERE l.stock_count_id = :id"
            " ORDER BY coalesce(p.pick_sequence, 2147483647), p.code, k.code"
        ),
        {"id": count_id},
    ).mappings()
    return [{**row, "moved_since": bool(row["moved_since"])} for row in rows]
