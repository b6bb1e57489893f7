"""What a bin can give and take: it holds no more than its capacity, nor less than pickers expect.

Whoever fills a bin holds its row, so that two who fill the same one come one after the other;
taking out of it needs no such lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError


def refuse_over(connection: Connection, fields: dict[str, str]) -> None:
    """Raise Conflict where a bin (its code, with the field that named it) is over its capacity."""
    rows = execute(
        connection,
        "SELECT p.code, p.capacity_units, sum(c.quantity) FROM locations AS p"
        f" JOIN ({rowset(connection, 'codes', {'code': 'text'})}) AS r ON r.code = p.code"
        " JOIN location_levels AS c ON c.location_id = p.id WHERE p.kind = 'bin'"
        " GROUP BY p.code, p.capacity_units HAVING sum(c.quantity) > p.capacity_units"
        " ORDER BY p.code",
        {"codes": as_rows({"code": code} for code in sorted(fields))},
    ).fetchall()
    if rows:
        raise Conflict(
            "A bin cannot hold that much.",
            [
                FieldError(fields[code], "over_capacity",
                           f"{code} takes {capacity}, it would hold {int(units)}")
                for code, capacity, units in rows
            ],
        )  # fmt: skip


def refuse_spoken_for(connection: Connection, location_ids: Sequence[int]) -> None:
    """Raise Conflict where a bin holds less than pickers were sent there for."""
    row = execute(
        connection,
        "SELECT p.code, s.code, k.units, c.quantity FROM ("
        "SELECT location_id, sku_id, sum(quantity) AS units FROM picks WHERE picked IS NULL"
        f" AND location_id IN ({ids(connection, 'ids')}) GROUP BY location_id, sku_id) AS k"
        " JOIN location_levels AS c ON c.location_id = k.location_id AND c.sku_id = k.sku_id"
        " JOIN locations AS p ON p.id = k.location_id JOIN skus AS s ON s.id = k.sku_id"
        " WHERE c.quantity < k.units ORDER BY p.code, s.code LIMIT 1",
        {"ids": as_ids(location_ids)},
    ).fetchone()
    if row is not None:
        place, sku, units, held = row
        raise Conflict(
            f"{int(units)} {sku} in {place} are to be picked; {held} would be left.",
            [FieldError("source", "to_be_picked", f"{place} is on a pick list")],
        )


def lock(connection: Connection, location_ids: Sequence[int]) -> None:
    """Lock bins that are about to be filled; :func:`refuse_over` then sees all in them."""
    if connection.dialect.name == "sqlite" or not location_ids:
        return
    # A move's foreign key shares the row with this lock: picking out of the bin goes on.
    execute(
        connection,
        f"SELECT id FROM locations WHERE id IN ({ids(connection, 'ids')})"
        " ORDER BY id FOR NO KEY UPDATE",
        {"ids": as_ids(location_ids)},
    ).fetchall()
