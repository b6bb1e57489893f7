"""What is to be done next with a shipment, and the request that does it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids
from oms_ops.fulfilment.carriers import registry
from oms_ops.fulfilment.picks import stopped
from oms_ops.fulfilment.transitions import TRANSITIONS, WAITS
from oms_ops.rules import store


@dataclass(frozen=True, slots=True)
class Next:
    """A step and its request; ``needs`` names the fields of the body still to be filled."""

    step: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    method: str = "POST"

    def shown(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        request = {"method": self.method, "path": self.path, "body": self.body}
        return {"step": self.step, "request": request, "needs": list(self.needs)}


@dataclass(frozen=True, slots=True)
class Situation:
    """A shipment as a scanner needs to know it; ``label`` is the status of its live label."""

    id: int
    number: str
    status: str
    warehouse: str
    order: str
    order_status: str
    hold_reason: str | None
    wave: str | None
    waits: bool
    label: str | None
    carrier: str | None
    tracking_number: str | None
    failure_reason: str | None

    def shown(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        names = ("id", "number", "status", "warehouse", "order", "order_status", "wave", "label",
                 "carrier", "tracking_number", "failure_reason")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def situations(
    connection: Connection, *, order_id: int | None = None, shipment_ids: Collection[int] = ()
) -> list[Situation]:
    """Return the shipments of an order that are not cancelled, or those with given ids."""
    chosen = (
        "s.order_id = :order AND s.status <> 'cancelled'"
        if order_id is not None
        else f"s.id IN ({ids(connection, 'ids')})"
    )
    rows = execute(
        connection,
        "SELECT s.id, s.number, s.status, w.code, o.number, o.status, o.hold_reason, v.number,"
        f" {WAITS}, b.status, coalesce(s.carrier, b.carrier),"
        " coalesce(s.tracking_number, b.tracking_number), s.failure_reason"
        " FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
        " JOIN warehouses AS w ON w.id = s.warehouse_id"
        " LEFT JOIN pick_waves AS v ON v.id = s.wave_id"
        " LEFT JOIN shipment_labels AS b ON b.shipment_id = s.id AND b.status <> 'void'"
        f" WHERE {chosen} ORDER BY s.id",
        {"order": order_id} if order_id is not None else {"ids": as_ids(shipment_ids)},
    )
    return [Situation(*row) for row in rows]


def after(connection: Connection, shipment: Situation) -> tuple[Next | None, str | None]:
    """Return what is next, and what stands in its way, if anything does."""
    step = _STEPS.get(shipment.status)
    if step is None:
        return None, None
    if obstacle := _obstacle(shipment, step):
        return None, obstacle
    path = f"/v1/shipments/{shipment.id}"
    if step == "pick" and shipment.wave is not None:
        return Next("walk", "/v1/scan", {"code": shipment.wave}), None
    if step == "ship" and shipment.label is None and (who := _carriers(connection)):
        body = {"carrier": who[0] if len(who) == 1 else None}
        return Next("label", f"{path}/label", body, () if len(who) == 1 else ("carrier",)), None
    if step == "receive":
        if _taken_in(connection, shipment.id):
            return None, None
        needs = ("lines", "reason")
        return Next(step, "/v1/returns", {"order": shipment.order, "received": True}, needs), None
    return Next(step, f"{path}/{step}", needs=_unsaid(connection, step)), None


#: What follows a status; parcels that came back are taken in as a return.
_STEPS = {
    "allocated": "pick",
    "picked": "pack",
    "packed": "ship",
    "shipped": "deliver",
    "delivery_failed": "retry",
    "returned": "receive",
}


def _obstacle(shipment: Situation, step: str) -> str | None:
    rule = TRANSITIONS.get(step)
    if rule is None:
        return None
    if shipment.order_status not in rule.order:
        return stopped(shipment.order, shipment.order_status, shipment.hold_reason)
    if rule.whole and shipment.waits and not (step == "pick" and shipment.wave):
        return f"{shipment.order} is to leave complete, and some of it waits for stock"
    if rule.labelled and shipment.label == "requested":
        return f"{shipment.carrier} has not answered for the label of {shipment.number}"
    return None


def _unsaid(connection: Connection, step: str) -> tuple[str, ...]:
    checked = step == "pack" and store.current(connection).rules.packing.check == "required"
    return ("parcels",) if checked else ()


def _taken_in(connection: Connection, shipment_id: int) -> bool:
    """Tell whether all that came back with a shipment was received by a return.

    A return is of an order's line: of a line that came back in several parcels, all count.
    """
    missing = execute(
        connection,
        "SELECT 1 FROM (SELECT x.order_line_id, sum(x.quantity) AS units"
        " FROM shipment_lines AS mine JOIN shipment_lines AS x"
        " ON x.order_line_id = mine.order_line_id"
        " JOIN shipments AS s ON s.id = x.shipment_id AND s.status = 'returned'"
        " WHERE mine.shipment_id = :id GROUP BY x.order_line_id, mine.id) AS back"
        " WHERE back.units > (SELECT coalesce(sum(r.received), 0) FROM return_lines AS r"
        " WHERE r.order_line_id = back.order_line_id) LIMIT 1",
        {"id": shipment_id},
    ).fetchone()
    return missing is None


def _carriers(connection: Connection) -> Sequence[str]:
    """Return the carriers that give labels by themselves."""
    return [code for code in registry.carriers(connection) if code != registry.MANUAL]
