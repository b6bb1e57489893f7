"""Units of order lines that are cancelled: which they are, and out of which shipments they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import amounts, shipments, stuck
from oms_ops.stock.ledger import Quantity


@dataclass(frozen=True, slots=True)
class CancelledUnits:
    """``units`` of a line, by its order's id and its number on the order."""

    order_id: int
    line_no: int
    units: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Units that were promised, and the pairs (warehouse id, SKU id) for which units waited.

    ``order_ids`` are the orders that waited for something.
    """

    freed: list[Quantity]
    waited: set[tuple[int, int]]
    order_ids: set[int] = field(default_factory=set)


def take(
    connection: Connection, wanted: Sequence[CancelledUnits], parameters: dict[str, Any]
) -> GivenBack:
    """Cancel units of lines: those that wait first, then those in shipments that nobody picks yet.

    The orders are locked; their totals are to be refreshed and what is given back to be released.
    ``parameters`` bind ``:actor`` and ``:now``.

    Raises:
        ValidationFailed: with every bad field: unknown lines, a line twice, units not positive.
        Conflict: more is to be cancelled of a line than waits or is unpicked; each line is named.
    """
    order_ids = sorted({each.order_id for each in wanted})
    lines = _lines(connection, order_ids)
    _refuse_bad(wanted, lines)
    takes, short = _take(wanted, lines, _unpicked(connection, order_ids))
    if faults := stuck.of_lines(connection, short):
        raise Conflict("Some units are picked, shipped or cancelled already.", faults)
    shipments.take_off(connection, [part for take in takes for part in take.parts], parameters)
    _change_lines(connection, takes, parameters)
    freed = [
        Quantity(part["warehouse_id"], take.line.sku_id, part["units"])
        for take in takes
        for part in take.parts
    ]
    waited = [take.line for take in takes if take.backordered]
    return GivenBack(
        freed,
        {(line.warehouse_id, line.sku_id) for line in waited},
        {line.order_id for line in waited},
    )


@dataclass(frozen=True, slots=True)
class _Take:
    """Units to cancel of a line: those that wait, and parts of shipment lines."""

    line: Any
    backordered: int
    parts: list[dict[str, Any]]

    @property
    def allocated(self) -> int:
        return sum(part["units"] for part in self.parts)


def _lines(connection: Connection, order_ids: Sequence[int]) -> dict[tuple[int, int], Any]:
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.order_id, l.line_no, l.sku_id, l.backordered, o.warehouse_id"
            " FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
            f" WHERE l.order_id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {(row.order_id, row.line_no): row for row in rows}


def _unpicked(connection: Connection, order_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return per order line what its unpicked shipments hold, the newest shipment first."""
    rows = connection.execute(
        sa.text(
            "SELECT x.id AS shipment_line_id, x.order_line_id, x.quantity, s.warehouse_id"
            " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
            f" WHERE s.order_id IN ({ids(connection, 'ids')}) AND {shipments.UNPICKED}"
            " ORDER BY x.id DESC"
        ),
        {"ids": as_ids(order_ids)},
    ).mappings()
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["order_line_id"], []).append(dict(row))
    return found


def _refuse_bad(wanted: Sequence[CancelledUnits], lines: dict[tuple[int, int], Any]) -> None:
    errors = []
    if not wanted:
        errors.append(FieldError("lines", "required", "at least one line"))
    seen = set()
    for index, each in enumerate(wanted):
        key = (each.order_id, each.line_no)
        if key not in lines:
            errors.append(FieldError(f"lines[{index}].line_no", "unknown_line", "no such line"))
        elif key in seen:
            errors.append(FieldError(f"lines[{index}].line_no", "repeated_line", "is there twice"))
        if each.units <= 0:
            errors.append(FieldError(f"lines[{index}].quantity", "not_positive", "at least 1"))
        seen.add(key)
    if errors:
        raise ValidationFailed("The cancellation has bad fields.", errors)


def _take(
    wanted: Sequence[CancelledUnits],
    lines: dict[tuple[int, int], Any],
    unpicked: dict[int, list[dict[str, Any]]],
) -> tuple[list[_Take], dict[int, tuple[str, int]]]:
    """Return what is taken, and by line which field asks for more than can be, and how many can."""
    takes, short = [], {}
    for index, each in enumerate(wanted):
        line = lines[each.order_id, each.line_no]
        backordered = min(each.units, line.backordered)
        rest = each.units - backordered
        parts = []
        for held in unpicked.get(line.id, []):
            if units := min(rest, held["quantity"]):
                rest -= units
                parts.append({**held, "units": units})
        if rest:
            short[line.id] = (f"lines[{index}].quantity", each.units - rest)
        takes.append(_Take(line, backordered, parts))
    return takes, short


def _change_lines(
    connection: Connection, takes: Sequence[_Take], parameters: dict[str, Any]
) -> None:
    columns = dict.fromkeys(("id", "backordered", "allocated"), "bigint")
    included = "(SELECT o.tax_included FROM orders AS o WHERE o.id = l.order_id)"
    cancelled = "l.cancelled + r.backordered + r.allocated"
    rows = as_rows(
        {"id": take.line.id, "backordered": take.backordered, "allocated": take.allocated}
        for take in takes
    )
    execute(
        connection,
        "UPDATE order_lines AS l SET backordered = l.backordered - r.backordered,"
        f" allocated = l.allocated - r.allocated, cancelled = {cancelled},"
        f" cancelled_minor = {amounts.cancelled_sql('l', cancelled, included)},"
        " version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
        {**parameters, "rows": rows},
    )
