"""The bins of a warehouse: each with its place in the pickers' walk, and what lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_READ, STOCK_WRITE, Actor
from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.errors import Conflict, NotFound
from oms_ops.shapes import LINE_MARKS
from oms_ops.stock import capacity
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names


@dataclass(frozen=True, slots=True)
class NewBin:
    """A bin to create: its place in the pickers' walk, and how many units it takes at most."""

    code: str
    zone: str | None = None
    pick_sequence: int | None = None
    capacity_units: int | None = None


_NEW = {"code": "text", "zone": "text", "pick_sequence": "bigint", "capacity_units": "bigint"}


def create(
    connection: Connection, actor: Actor, warehouse: str, bins: Sequence[NewBin]
) -> list[dict[str, Any]]:
    """Create bins in a warehouse (code); return them as :func:`contents` does.

    Raises:
        ValidationFailed: an unknown warehouse, a code that is empty, taken or named twice, a
            capacity or sequence out of range.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The list of bins")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("bins", bins)
    _check_new(names, bins)
    names.check()
    made = execute(
        connection,
        "INSERT INTO locations (code, kind, warehouse_id, zone, pick_sequence, capacity_units,"
        " is_active, version, changed_by, changed_at)"
        " SELECT code, 'bin', :warehouse, zone, pick_sequence, capacity_units, true, 1, :actor,"
        f" :now FROM ({rowset(connection, 'rows', _NEW)}) AS r WHERE true"
        " ON CONFLICT (code) DO NOTHING RETURNING id, code",
        {
            "rows": as_rows({name: getattr(b, name) for name in _NEW} for b in bins),
            "warehouse": warehouse_id,
            **stamp_of(connection, actor),
        },
    ).fetchall()
    created = {row[1] for row in made}
    for index, wanted in enumerate(bins):
        if wanted.code not in created:
            names.fault(f"bins[{index}].code", "duplicate", f"{wanted.code!r} exists already")
    names.check()
    return shown(connection, [row[0] for row in made])


def _check_new(names: Names, bins: Sequence[NewBin]) -> None:
    seen: set[str] = set()
    for index, wanted in enumerate(bins):
        field = f"bins[{index}]"
        if not wanted.code.strip():
            names.fault(f"{field}.code", "required", "a bin has a code")
        elif any(mark in wanted.code for mark in LINE_MARKS):
            names.fault(f"{field}.code", "not_storable", "holds a tab or a line break")
        elif wanted.code in seen:
            names.fault(f"{field}.code", "duplicate", f"{wanted.code!r} is named twice")
        seen.add(wanted.code)
        if wanted.capacity_units is not None:
            names.units(f"{field}.capacity_units", wanted.capacity_units)
        if wanted.pick_sequence is not None:
            names.units(f"{field}.pick_sequence", wanted.pick_sequence, least=0)


def change(connection: Connection, actor: Actor, code: str, changes: dict[str, Any]) -> None:
    """Change a bin's ``zone``, ``pick_sequence``, ``capacity_units`` or ``is_active``.

    Raises:
        NotFound: there is no such bin.
        Conflict: it is to be closed and still holds goods.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The bin")
    known = {"zone", "pick_sequence", "capacity_units", "is_active"}
    for field in sorted(set(changes) - known):
        names.fault(field, "unknown_field", "cannot be changed")
    if changes.get("capacity_units") is not None:
        names.units("capacity_units", changes["capacity_units"])
    if changes.get("pick_sequence") is not None:
        names.units("pick_sequence", changes["pick_sequence"], least=0)
    names.check()
    row = execute(
        connection, "SELECT id FROM locations WHERE code = :code AND kind = 'bin'", {"code": code}
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no bin {code}.")
    capacity.lock(connection, [row[0]])
    sets = "".join(f"{name} = :{name}, " for name in sorted(changes))
    execute(
        connection,
        f"UPDATE locations SET {sets}version = version + 1, changed_by = :actor,"
        " changed_at = :now WHERE id = :id",
        {"id": row[0], **changes, **stamp_of(connection, actor)},
    )
    if changes.get("is_active") is False:
        held = execute(
            connection,
            "SELECT sum(quantity) FROM location_levels WHERE location_id = :id",
            {"id": row[0]},
        ).fetchone()
        if held[0]:
            raise Conflict(f"Bin {code} still holds {held[0]} units.")


def contents(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    *,
    zone: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of a warehouse's bins and quarantine with what lies in each, and the cursor."""
    actor.require(STOCK_READ)
    names = Names(connection, "The question")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.check()
    rows = connection.execute(
        sa.text(
            "SELECT id FROM locations WHERE warehouse_id = :warehouse"
            " AND kind IN ('bin', 'quarantine') AND id > :after"
            " AND (CAST(:zone AS text) IS NULL OR zone = :zone) ORDER BY id LIMIT :limit"
        ),
        {"warehouse": warehouse_id, "zone": zone, "after": after, "limit": limit + 1},
    )
    found: list[int] = list(rows.scalars())
    page = found[:limit]
    return shown(connection, page), page[-1] if len(found) > limit else None


def shown(connection: Connection, location_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return locations by their ids, with the SKUs and units that lie in each."""
    rows = connection.execute(
        sa.text(
            "SELECT p.id, p.code, p.kind, w.code AS warehouse, p.zone, p.pick_sequence,"
            " p.capacity_units, p.is_active, k.code AS sku, k.name, c.quantity"
            " FROM locations AS p JOIN warehouses AS w ON w.id = p.warehouse_id"
            " LEFT JOIN location_levels AS c ON c.location_id = p.id AND c.quantity > 0"
            " LEFT JOIN skus AS k ON k.id = c.sku_id"
            f" WHERE p.id IN ({ids(connection, 'ids')}) ORDER BY p.id, k.code"
        ),
        {"ids": as_ids(location_ids)},
    )
    shown: dict[int, dict[str, Any]] = {}
    for row in rows.mappings():
        place = shown.setdefault(
            row["id"],
            {
                **{key: row[key] for key in ("code", "kind", "warehouse", "zone")},
                **{key: row[key] for key in ("pick_sequence", "capacity_units")},
                "is_active": bool(row["is_active"]),
                "units": 0,
                "lines": [],
            },
        )
        if row["sku"] is not None:
            place["units"] += row["quantity"]
            place["lines"].append({key: row[key] for key in ("sku", "name", "quantity")})
    return list(shown.values())
