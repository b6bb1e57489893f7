"""Route again what was allocated: a warehouse rejects it, a pick comes short, a person decides.

The units leave their shipments and are released, then planned like those of a new order, without
the warehouse that they left. What no other warehouse has waits at the order's home.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_ROUTE, Actor
from oms_ops.database import Retry, as_ids, execute, ids
from oms_ops.errors import Conflict, FieldError, NotFound, OutOfStock, ValidationFailed
from oms_ops.orders import affected, consequences, replanned, sites
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.orders.replan import Leaving, Plan, plan
from oms_ops.orders.units import GivenBack
from oms_ops.rules import store
from oms_ops.rules.document import Rules
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity


@dataclass(frozen=True, slots=True)
class Shortage:
    """``units`` of a shipment line that its warehouse cannot give."""

    shipment_line_id: int
    units: int


def reallocate(
    connection: Connection, actor: Actor, takes: Sequence[Shortage], *, reason: str
) -> None:
    """Take units off shipment lines and allocate them elsewhere, or let them wait at home.

    The shipments are not shipped yet; one without lines left is cancelled. The units are released
    where they were and filled into nobody else's order: the caller, who has the permission for what
    made them short, moves them out of the stock in the same transaction, and until then their level
    stays locked.

    Raises:
        NotFound: there is no such shipment line.
        ValidationFailed: a line twice, or units not positive.
        Conflict: a line holds fewer units, or its shipment is shipped or cancelled.
    """
    if not takes:
        return
    _refuse_bad(takes)
    line_ids = [take.shipment_line_id for take in takes]
    lock_orders_of_shipments(connection, affected.shipments_of_lines(connection, line_ids))
    leaving = affected.of_lines(connection, {t.shipment_line_id: t.units for t in takes})
    shipment_ids = [each.shipment_id for each in leaving]
    plans = _plans(connection, leaving, shipment_ids, exclude=(), to=None, move_home=False)
    replanned.write(connection, actor, plans, reason)
    ledger.release(connection, actor, _freed(plans))
    _allocate(connection, actor, plans)


def reroute(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    exclude: Collection[str] = (),
    to: str | None = None,
    reason: str,
) -> list[int]:
    """Send shipments that nobody picks yet from other warehouses than theirs and ``exclude``.

    ``to`` names the one warehouse to use instead. An order whose home is left gets a new one, where
    then all waits that waited. The units are free again where they were, for those who wait there
    first. Returns the orders' ids.

    Raises:
        NotFound: there is no such shipment.
        ValidationFailed: ``to`` or ``exclude`` names no active warehouse.
        Conflict: a shipment is picked, in a picker's walk or cancelled, or no other warehouse may
            ship it: each is named, and nothing is then changed.
        OutOfStock: ``to`` has not all the units.
    """
    actor.require(ORDERS_ROUTE)
    if not shipment_ids:
        return []
    lock_orders_of_shipments(connection, shipment_ids)
    _refuse_wrong(connection, shipment_ids, exclude, to)
    leaving = affected.of_shipments(connection, shipment_ids)
    plans = _plans(connection, leaving, shipment_ids, exclude=exclude, to=to, move_home=True)
    waited = {
        (each.order.home_id, line.sku_id)
        for each in plans
        for line in each.lines()
        if line.backordered and each.moved
    }
    replanned.write(connection, actor, plans, reason)
    consequences.give_units_back(
        connection,
        actor,
        GivenBack(_freed(plans), waited),
        sent_away={each.order.id for each in plans},
    )
    _allocate(connection, actor, plans)
    return [each.order.id for each in plans]


def _refuse_bad(takes: Sequence[Shortage]) -> None:
    errors = []
    seen = set()
    for index, take in enumerate(takes):
        if take.units <= 0:
            errors.append(FieldError(f"takes[{index}].units", "not_positive", "at least 1"))
        if take.shipment_line_id in seen:
            field = f"takes[{index}].shipment_line_id"
            errors.append(FieldError(field, "repeated_line", "is there twice"))
        seen.add(take.shipment_line_id)
    if errors:
        raise ValidationFailed("The shortages have bad fields.", errors)


def _plans(
    connection: Connection,
    leaving: Sequence[Leaving],
    shipment_ids: Sequence[int],
    *,
    exclude: Collection[str],
    to: str | None,
    move_home: bool,
) -> list[Plan]:
    """Plan order after order, the oldest first; refuse with every shipment that has no way out.

    ``shipment_ids`` are those that leave, as the caller listed them.
    """
    rules = store.current(connection).rules
    candidates = sites.read(connection, rules.routing)
    orders = affected.orders(connection, leaving)
    free = _available(connection, {line.sku_id for order in orders for line in order.lines})
    plans, stuck, short = [], [], []
    for order in orders:
        planned = plan(
            order, _less_reserve(free, rules, order.channel), candidates, rules.routing,
            exclude=exclude, to=to, move_home=move_home,
        )  # fmt: skip
        field = f"shipment_ids[{shipment_ids.index(order.leaving[0].shipment_id)}]"
        if planned is None:
            message = f"no other warehouse may ship {order.number}"
            stuck.append(FieldError(field, "no_other_warehouse", message))
            continue
        for warehouse_id, line, units in planned.shares:
            free[warehouse_id, line.sku_id] -= units
        if to is not None and any(planned.more_waiting(line) > 0 for line in planned.lines()):
            message = f"{to} has not all of {order.number}"
            short.append(FieldError(field, "not_available", message))
        plans.append(planned)
    if stuck:
        raise Conflict("Some shipments cannot go elsewhere.", stuck)
    if short:
        raise OutOfStock(f"{to} has not all of the units.", short)
    return plans


def _refuse_wrong(
    connection: Connection, shipment_ids: Sequence[int], exclude: Collection[str], to: str | None
) -> None:
    """Refuse shipments that cannot leave and warehouses that there are not, all in one answer."""
    faults = affected.immovable(connection, shipment_ids)
    if wrong := _unknown_warehouses(connection, exclude, to):
        raise ValidationFailed("The request has bad fields.", faults + wrong)
    if missing := [fault for fault in faults if fault.code == "unknown_shipment"]:
        raise NotFound(f"There is {missing[0].message}.", faults)
    if faults:
        raise Conflict("Only what nobody picks yet can be routed again.", faults)


def _unknown_warehouses(
    connection: Connection, exclude: Collection[str], to: str | None
) -> list[FieldError]:
    rows = execute(connection, "SELECT code, is_active FROM warehouses", {})
    known = {row[0]: row[1] for row in rows}
    faults = [
        FieldError(f"exclude[{index}]", "unknown_warehouse", f"no warehouse {code!r}")
        for index, code in enumerate(exclude)
        if code not in known
    ]
    if to is not None and not known.get(to):
        faults.append(FieldError("to", "unknown_warehouse", f"no active warehouse {to!r}"))
    return faults


def _available(connection: Connection, sku_ids: Collection[int]) -> dict[tuple[int, int], int]:
    rows = execute(
        connection,
        "SELECT warehouse_id, sku_id, on_hand - allocated FROM stock_levels"
        f" WHERE sku_id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(sku_ids)},
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _less_reserve(
    free: Mapping[tuple[int, int], int], rules: Rules, channel: str
) -> Mapping[tuple[int, int], int]:
    reserve = rules.reserve_of(channel)
    return {pair: max(0, units - reserve) for pair, units in free.items()} if reserve else free


def _freed(plans: Sequence[Plan]) -> list[Quantity]:
    return [
        Quantity(each.warehouse_id, each.sku_id, each.units)
        for planned in plans
        for each in planned.order.leaving
    ]


def _allocate(connection: Connection, actor: Actor, plans: Sequence[Plan]) -> None:
    wanted = [
        Quantity(warehouse_id, line.sku_id, units)
        for planned in plans
        for warehouse_id, line, units in planned.shares
    ]
    if not ledger.allocate(connection, actor, wanted):
        raise Retry("stock moved between the plan and the claim")
