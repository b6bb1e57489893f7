"""Where the orders of a batch go that name no warehouse: as routing decides, without a split.

The orders are walked in their turn, also those that name a warehouse: what one takes is not there
for the next, nor is its place in the day's capacity; one that is short and may not wait takes
nothing, as the claim will refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_json, as_rows, rowset
from oms_ops.orders import sites
from oms_ops.orders.routing import Routing, route
from oms_ops.orders.sites import Destination, Site
from oms_ops.rules.document import RoutingRules

#: What stands as the reason of a route that the caller chose.
GIVEN = as_json({"rule": "given"})

_Wanted = Sequence[tuple[int, int]]


def give_homes(connection: Connection, rules: RoutingRules) -> None:
    """Give the staged orders without a warehouse one, and the reason as JSON text."""
    homeless = "SELECT count(*) FROM bulk_orders WHERE warehouse_id IS NULL"
    known = sites.read(connection, rules) if _run(connection, homeless).scalar() else []
    if not known:
        return
    columns = {"ref": "bigint", "warehouse_id": "bigint", "routing": "text"}
    _run(
        connection,
        "UPDATE bulk_orders SET warehouse_id = r.warehouse_id, routing = r.routing"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE bulk_orders.ref = r.ref",
        rows=as_rows(_chosen(connection, known, rules)),
    )


def _chosen(
    connection: Connection, known: list[Site], rules: RoutingRules
) -> Iterator[dict[str, Any]]:
    wanted: dict[int, list[tuple[int, int]]] = {}
    lines = "SELECT ref, sku_id, quantity FROM bulk_lines ORDER BY ref, line_no"
    for ref, sku_id, units in _run(connection, lines):
        wanted.setdefault(ref, []).append((sku_id, units))
    available = _stock(connection)
    in_turn = (
        "SELECT b.ref, w.code, b.ship_country, b.ship_region, b.reserve, b.allow_backorder"
        " FROM bulk_orders AS b LEFT JOIN warehouses AS w ON w.id = b.warehouse_id"
        " ORDER BY b.placed_at, b.ref"
    )
    for ref, code, country, region, reserve, may_wait in _run(connection, in_turn).all():
        levels = _open(available, known, wanted[ref], reserve) if reserve else available
        routing = route(
            wanted[ref],
            levels,
            known,
            Destination(country, region),
            rules,
            allow_split=False,
            override=code,
        )
        if code is None:
            home = routing.home
            yield {"ref": ref, "warehouse_id": home.id, "routing": as_json(routing.reason)}
        if may_wait or not any(routing.backordered):
            known = _taken(known, available, wanted[ref], routing, rules)


def _open(
    available: dict[tuple[int, int], int], known: list[Site], wanted: _Wanted, reserve: int
) -> dict[tuple[int, int], int]:
    """Return what a channel may take that leaves ``reserve`` units to others."""
    pairs = [(site.id, sku_id) for site in known for sku_id, _ in wanted]
    return {pair: max(0, available.get(pair, 0) - reserve) for pair in pairs}


def _taken(
    known: list[Site],
    available: dict[tuple[int, int], int],
    wanted: _Wanted,
    routing: Routing,
    rules: RoutingRules,
) -> list[Site]:
    """Take what an order gets out of ``available``; return the sites with its shipment counted."""
    for site_id, index, units in routing.allocations:
        available[site_id, wanted[index][0]] -= units
    if not rules.limits_days or not routing.allocations:
        return known
    home = routing.home.id
    return [s._replace(open_today=s.open_today + 1) if s.id == home else s for s in known]


def _stock(connection: Connection) -> dict[tuple[int, int], int]:
    """Return what is available per (warehouse id, SKU id) of the batch's SKUs."""
    found = _run(
        connection,
        "SELECT warehouse_id, sku_id, on_hand - allocated FROM stock_levels"
        " WHERE sku_id IN (SELECT sku_id FROM bulk_lines)",
    )
    return {(warehouse_id, sku_id): units for warehouse_id, sku_id, units in found}


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)
