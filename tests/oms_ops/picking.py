"""A warehouse with bins, and the words of picking, for tests."""

from __future__ import annotations

from typing import Any

from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.fulfilment import picking, picklist, waves
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders.capture import capture
from oms_ops.stock import bin_moves, bins
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from tests.oms_ops.shop import CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")


def with_bins(shop: Shop) -> Shop:
    """Give Atlanta three bins: the walk goes B (cold), A (cold), C (dry)."""
    new = [NewBin("A", "cold", 20), NewBin("B", "cold", 10), NewBin("C", "dry", 30)]
    run(shop.engine, lambda c: bins.create(c, WORKER, "ATL", new))
    return shop


def put(shop: Shop, *moves: tuple[str, int, str]) -> None:
    """Stock units and put them into bins: (SKU, units, bin)."""
    for sku, units, _ in moves:
        shop.stock(sku, units)
    wanted = [BinMove(sku, units, place) for sku, units, place in moves]
    run(shop.engine, lambda c: bin_moves.move(c, WORKER, "ATL", wanted))


def sold(shop: Shop, *lines: tuple[str, int], **changes: Any) -> str:
    return str(capture(shop.engine, CLERK, order(*lines, **changes))["number"])


def opened(shop: Shop, **limits: Any) -> dict[str, Any]:
    number = run(shop.engine, lambda c: waves.open_wave(c, WORKER, "ATL", Limits(**limits)))
    return shown(shop, number)


def shown(shop: Shop, number: str) -> dict[str, Any]:
    with reading(shop.engine) as connection:
        return picklist.get(connection, WORKER, number)


def stops(wave: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(s["location"], s["sku"], s["units"]) for s in wave["stops"]]


def found(shop: Shop, wave: dict[str, Any], *units: int) -> dict[str, Any]:
    """Record what was found at the first stops that are still open."""
    open_stops = [s["pick_id"] for s in wave["stops"] if s["picked"] is None]
    said = dict(zip(open_stops, units, strict=False)) if units else None
    run(shop.engine, lambda c: picking.confirm(c, WORKER, wave["number"], said))
    return shown(shop, wave["number"])


def held(shop: Shop) -> dict[tuple[str, str], int]:
    """Return units by place (bins and quarantine) and SKU."""
    rows = shop.rows(
        "SELECT p.code, k.code, c.quantity FROM location_levels AS c JOIN locations AS p"
        " ON p.id = c.location_id JOIN skus AS k ON k.id = c.sku_id WHERE c.quantity > 0"
    )
    return {(row[0], row[1]): row[2] for row in rows}


def statuses(shop: Shop) -> list[tuple[str, str]]:
    """Return the shipments' warehouses and statuses, the oldest first."""
    rows = shop.rows(
        "SELECT w.code, s.status FROM shipments AS s JOIN warehouses AS w ON w.id = s.warehouse_id"
        " ORDER BY s.id"
    )
    return [(row[0], row[1]) for row in rows]
