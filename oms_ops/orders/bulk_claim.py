"""What each line of a staged batch gets: the stock goes round in the order of the orders' moments.

Nothing is locked or written here but the staged rows; the batch's last statement claims it all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_rows, rowset
from oms_ops.orders.bulk_rules import short_faults
from oms_ops.orders.bulk_shape import Fault

#: The lines in their turn, each with what there is for its channel and what was asked for before.
_QUEUE = """
SELECT l.ref, l.line_no, l.quantity, b.warehouse_id, l.sku_id,
    coalesce(v.on_hand - v.allocated, 0) - b.reserve AS available,
    CAST(sum(l.quantity) OVER (PARTITION BY b.warehouse_id, l.sku_id
        ORDER BY b.placed_at, l.ref, l.line_no) AS bigint) - l.quantity AS before
FROM bulk_lines AS l
JOIN bulk_orders AS b ON b.ref = l.ref
LEFT JOIN stock_levels AS v ON v.sku_id = l.sku_id AND v.warehouse_id = b.warehouse_id
"""

_TAKE = f"""
UPDATE bulk_lines SET before = t.before,
    take = CASE WHEN t.available - t.before >= bulk_lines.quantity THEN bulk_lines.quantity
                WHEN t.available > t.before THEN t.available - t.before ELSE 0 END
FROM ({_QUEUE}) AS t
WHERE bulk_lines.ref = t.ref AND bulk_lines.line_no = t.line_no
"""

#: Short lines of orders that allow no backorder, where no other order to be refused stands before
#: in a queue of any of their lines: what is refused frees all that it claimed, so those behind it
#: are looked at again in the next round, and each is told all that it lacks when its turn comes.
_FIRST_SHORT = """
WITH doomed AS (
    SELECT DISTINCT l.ref FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref
    WHERE l.take < l.quantity AND NOT b.allow_backorder
), queue AS (
    SELECT l.ref, l.line_no, l.take, l.quantity, b.reserve, first_value(l.ref) OVER (
        PARTITION BY b.warehouse_id, l.sku_id ORDER BY l.before) AS first_ref
    FROM bulk_lines AS l
    JOIN doomed AS d ON d.ref = l.ref
    JOIN bulk_orders AS b ON b.ref = l.ref
)
SELECT ref, line_no, take, quantity, reserve FROM queue
WHERE take < quantity AND ref NOT IN (SELECT ref FROM queue WHERE ref <> first_ref)
"""


def claim(connection: Connection) -> list[Fault]:
    """Decide what each line gets; drop and name the orders that are short and may not wait."""
    faults: list[Fault] = []
    reserves = _run(connection, "SELECT count(DISTINCT reserve) FROM bulk_orders").scalar()
    while True:
        _run(connection, _TAKE)
        if reserves > 1:
            _take_in_turn(connection)
        short = _run(connection, _FIRST_SHORT).all()
        if not short:
            return faults
        faults += short_faults(short)
        drop(connection, {row.ref for row in short})


def drop(connection: Connection, refs: Iterable[int]) -> None:
    """Take orders out of the batch."""
    rows = [{"ref": ref} for ref in sorted(refs)]
    if rows:
        connection.execute(sa.text("DELETE FROM bulk_orders WHERE ref = :ref"), rows)
        connection.execute(sa.text("DELETE FROM bulk_lines WHERE ref = :ref"), rows)


def _take_in_turn(connection: Connection) -> None:
    """Correct what lines take where channels leave different reserves.

    What an order asked for and did not get for its channel's reserve is there for the next one of
    another channel, so what was asked for before does not tell what was taken.
    """
    queue = _run(connection, f"{_QUEUE} ORDER BY b.placed_at, l.ref, l.line_no")
    taken: dict[tuple[int, int], int] = {}
    rows = []
    for line in queue:
        pair = (line.warehouse_id, line.sku_id)
        before = taken.get(pair, 0)
        take = max(0, min(line.quantity, line.available - before))
        taken[pair] = before + take
        if take != max(0, min(line.quantity, line.available - line.before)):
            rows.append({"ref": line.ref, "line_no": line.line_no, "take": take})
    columns = {"ref": "bigint", "line_no": "bigint", "take": "bigint"}
    if rows:
        _run(
            connection,
            f"UPDATE bulk_lines SET take = r.take FROM ({rowset(connection, 'rows', columns)}) AS r"
            " WHERE bulk_lines.ref = r.ref AND bulk_lines.line_no = r.line_no",
            rows=as_rows(rows),
        )


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)
