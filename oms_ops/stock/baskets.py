"""Basket holds: units that are promised to a basket for a while, before there is an order.

A hold is an allocation like that of an order: nobody else gets the units, and the same guard keeps
it from taking what is not there. Whoever changes a hold names the quantity that was seen, so that
a capture, which takes the holds over, and a change of the basket never both count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_rows, as_time, execute, for_update, read_time, rowset
from oms_ops.errors import FieldError, OutOfStock
from oms_ops.rules import store
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity
from oms_ops.stock.names import Line, Names

#: Minutes that a hold may last, at most.
MOST_MINUTES = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class Held:
    """Units that a basket holds in a warehouse."""

    id: int
    warehouse_id: int
    sku_id: int
    quantity: int


def hold(
    connection: Connection,
    actor: Actor,
    basket: str,
    lines: Sequence[Line],
    minutes: int | None = None,
    *,
    warehouse: str | None = None,
    channel: str = "web",
) -> dict[str, Any]:
    """Hold for a basket as many units of each SKU as ``lines`` say; 0 lets go of the SKU.

    ``channel`` is where the basket is: what that channel must leave to others is not held either,
    so that the order can be captured from what the basket holds.

    A SKU that the basket holds already gets the difference, so that a repeat changes nothing; all
    that the basket holds lasts ``minutes`` from now (the shop's rule by default). The units of a
    SKU come from one warehouse: ``warehouse``, or where they are held already, or the first that
    has them. Returns :func:`show`'s answer.

    Raises:
        ValidationFailed: with every bad field.
        OutOfStock: no warehouse has all units of a SKU available.
    """
    actor.require(ORDERS_WRITE)
    names = Names(connection, "The basket")
    rules = store.current(connection).rules
    if rules.channels and channel not in rules.channels:
        message = f"one of {', '.join(sorted(rules.channels))}"
        names.fault("channel", "unknown_channel", message)
    skus, site = _checked(names, basket, lines, minutes, warehouse)
    held = _held(connection, basket)
    wanted = {skus[line.sku]: line.quantity for line in lines}
    keep = rules.reserve_of(channel)
    places = _places(connection, sorted(wanted), site, keep)
    target, short = {}, []
    for index, line in enumerate(lines):
        sku_id = skus[line.sku]
        own = {h.warehouse_id: h.quantity for h in held if h.sku_id == sku_id}
        place = _choose(places.get(sku_id, []), own, line.quantity)
        if line.quantity and place is None:
            most = max((free + own.get(w, 0) for w, free in places.get(sku_id, [])), default=0)
            message = f"{line.sku}: {most} can be held in one warehouse"
            short.append(FieldError(f"lines[{index}].quantity", "out_of_stock", message))
        elif place is not None:
            target[place, sku_id] = line.quantity
    if short:
        raise OutOfStock("The basket asks for more than is available.", short)
    lasting = minutes or rules.basket_minutes
    expires_at = clock.now() + timedelta(minutes=lasting)
    _write(connection, actor, basket, held, set(wanted), target, expires_at, keep)
    return show(connection, actor, basket)


def _checked(
    names: Names, basket: str, lines: Sequence[Line], minutes: int | None, warehouse: str | None
) -> tuple[dict[str, int], int | None]:
    if not 0 < len(basket.strip()) <= 200:
        names.fault("basket", "required", "the basket's key, 200 characters at most")
    names.some("lines", lines)
    skus = names.skus(((f"lines[{i}].sku", line.sku) for i, line in enumerate(lines)), active=True)
    seen: set[str] = set()
    for index, line in enumerate(lines):
        names.units(f"lines[{index}].quantity", line.quantity, least=0)
        if line.sku in seen:
            names.fault(f"lines[{index}].sku", "duplicate", f"{line.sku!r} is named twice")
        seen.add(line.sku)
    if minutes is not None and not 1 <= minutes <= MOST_MINUTES:
        names.fault("minutes", "out_of_range", f"between 1 and {MOST_MINUTES}")
    site = names.warehouse("warehouse", warehouse) if warehouse is not None else None
    names.check()
    return skus, site


def _places(
    connection: Connection, sku_ids: Iterable[int], site: int | None, keep: int
) -> dict[int, list[tuple[int, int]]]:
    """Return (warehouse id, units available beyond ``keep``) by SKU, in the warehouses' order."""
    rows = execute(
        connection,
        "SELECT v.sku_id, v.warehouse_id, v.on_hand - v.allocated FROM stock_levels AS v"
        f" JOIN ({rowset(connection, 'skus', {'sku_id': 'bigint'})}) AS r ON r.sku_id = v.sku_id"
        " JOIN warehouses AS w ON w.id = v.warehouse_id AND w.is_active"
        " WHERE CAST(:site AS bigint) IS NULL OR w.id = :site ORDER BY w.rank, w.id",
        {"skus": as_rows({"sku_id": sku_id} for sku_id in sku_ids), "site": site},
    )
    places: dict[int, list[tuple[int, int]]] = {}
    for sku_id, warehouse_id, available in rows:
        places.setdefault(sku_id, []).append((warehouse_id, max(0, available - keep)))
    return places


def _choose(places: Sequence[tuple[int, int]], own: dict[int, int], units: int) -> int | None:
    """Return the warehouse to hold ``units`` in: where some are held already, else the first."""
    if not units:
        return None
    enough = [w for w, available in places if available + own.get(w, 0) >= units]
    return next((w for w in enough if w in own), enough[0] if enough else None)


_ROW = {
    "id": "bigint",
    "quantity": "bigint",
    "seen": "bigint",
    "warehouse_id": "bigint",
    "sku_id": "bigint",
}


def _write(
    connection: Connection,
    actor: Actor,
    basket: str,
    held: Sequence[Held],
    named: set[int],
    target: dict[tuple[int, int], int],
    expires_at: datetime,
    keep: int,
) -> None:
    """Make the basket hold ``target`` of the ``named`` SKUs, and all of it last until then."""
    kept: list[dict[str, int]] = []
    gone: list[dict[str, int]] = []
    more: list[Quantity] = []
    less: list[Quantity] = []
    new = dict(target)
    for h in held:
        pair = (h.warehouse_id, h.sku_id)
        units = new.pop(pair, 0) if h.sku_id in named else h.quantity
        row = {"id": h.id, "quantity": units, "seen": h.quantity}
        (kept if units else gone).append(row)
        if units != h.quantity:
            change = Quantity(*pair, abs(units - h.quantity))
            (more if units > h.quantity else less).append(change)
    added = [{"warehouse_id": w, "sku_id": s, "quantity": q} for (w, s), q in sorted(new.items())]
    more += [Quantity(w, s, q) for (w, s), q in new.items()]
    values = {
        "basket": basket,
        "expires_at": as_time(connection, expires_at),
        "actor": actor.name,
    }
    rows = f"({rowset(connection, 'rows', _ROW)}) AS r"
    statements = (
        (
            "UPDATE basket_holds AS h SET quantity = r.quantity, expires_at = :expires_at,"
            f" changed_by = :actor FROM {rows} WHERE h.id = r.id AND h.quantity = r.seen",
            kept,
        ),
        (
            f"DELETE FROM basket_holds WHERE (id, quantity) IN (SELECT r.id, r.seen FROM {rows})",
            gone,
        ),
        (
            "INSERT INTO basket_holds"
            " (basket, warehouse_id, sku_id, quantity, expires_at, changed_by)"
            f" SELECT :basket, warehouse_id, sku_id, quantity, :expires_at, :actor FROM {rows}"
            " WHERE true ON CONFLICT (basket, sku_id, warehouse_id) DO NOTHING",
            added,
        ),
    )
    for statement, each in statements:
        if each and execute(connection, statement, {**values, "rows": as_rows(each)}).rowcount != (
            len(each)
        ):
            raise Retry("the basket changed meanwhile")
    if not ledger.allocate(connection, actor, more, keep=keep):
        raise Retry("stock moved between the plan and the claim")
    ledger.release(connection, actor, less)


def show(connection: Connection, actor: Actor, basket: str) -> dict[str, Any]:
    """Return what a basket holds, and until when (None: it holds nothing)."""
    actor.require(ORDERS_WRITE)
    rows = execute(
        connection,
        "SELECT k.code, w.code, h.quantity, h.expires_at FROM basket_holds AS h"
        " JOIN skus AS k ON k.id = h.sku_id JOIN warehouses AS w ON w.id = h.warehouse_id"
        " WHERE h.basket = :basket ORDER BY k.code, w.code",
        {"basket": basket},
    ).fetchall()
    expires_at = read_time(min(row[3] for row in rows)) if rows else None
    return {
        "basket": basket,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "lines": [{"sku": sku, "warehouse": site, "quantity": q} for sku, site, q, _ in rows],
    }


def _held(connection: Connection, basket: str) -> list[Held]:
    rows = execute(
        connection,
        "SELECT id, warehouse_id, sku_id, quantity FROM basket_holds"
        " WHERE basket = :basket ORDER BY id",
        {"basket": basket},
    )
    return [Held(*row) for row in rows]


def of_basket(connection: Connection, actor: Actor, basket: str) -> list[Held]:
    """Lock what a basket holds, to :func:`drop` it."""
    actor.require(ORDERS_WRITE)
    rows = execute(
        connection,
        "SELECT id, warehouse_id, sku_id, quantity FROM basket_holds"
        f" WHERE basket = :basket ORDER BY id {for_update(connection)}",
        {"basket": basket},
    )
    return [Held(*row) for row in rows]


def due(connection: Connection, now: datetime, limit: int = 500) -> list[Held]:
    """Lock a batch of holds that expired by ``now``, to :func:`drop` them.

    What somebody else is just taking over or extending is passed by.
    """
    clause = for_update(connection)
    rows = execute(
        connection,
        "SELECT id, warehouse_id, sku_id, quantity FROM basket_holds WHERE expires_at <= :now"
        f" ORDER BY expires_at, id LIMIT :limit {clause and clause + ' SKIP LOCKED'}",
        {"now": as_time(connection, now), "limit": limit},
    )
    return [Held(*row) for row in rows]


def drop(connection: Connection, actor: Actor, held: Sequence[Held]) -> None:
    """Let go of holds that are locked: their units become available again."""
    if not held:
        return
    execute(
        connection,
        "DELETE FROM basket_holds WHERE id IN"
        f" (SELECT id FROM ({rowset(connection, 'rows', {'id': 'bigint'})}) AS r)",
        {"rows": as_rows({"id": h.id} for h in held)},
    )
    ledger.release(
        connection, actor, [Quantity(h.warehouse_id, h.sku_id, h.quantity) for h in held]
    )
