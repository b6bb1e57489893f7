"""What is left of an order goes elsewhere: that place's taxes hold, a nearer warehouse may ship it.

What was shipped was taxed where it went, and stays so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_rows, execute, rowset
from oms_ops.orders import additions, charges, reroute, shipments
from oms_ops.orders.capture import route_order
from oms_ops.orders.look import Hold, Seen
from oms_ops.orders.pricing import Priced, PricedLine, Totals
from oms_ops.orders.terms import SkuTerms


def tax_again(
    connection: Connection,
    head: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    seen: Seen,
    stamp: dict[str, Any],
) -> None:
    """Tax the lines and the shipping of ``head`` by the rules of where it goes now.

    Lines whose rate stays keep their tax to the minor unit. So do lines of which units were
    shipped, for a line has one rate, and the shipping once anything was. The order's totals are to
    be refreshed.
    """
    rules, included = seen.rules.rules, bool(head["tax_included"])
    place = (head["ship_country"], head["ship_region"])
    moved = []
    for line in lines:
        if line["shipped"]:
            continue
        rate = charges.tax_rate(rules, *place, seen.known[line["sku"]].tax_category)
        if rate != line["tax_rate_ppm"]:
            moved.append((line, rate))
    taxes = charges.taxes(
        [line["net_minor"] for line, _ in moved], [rate for _, rate in moved], included=included
    )
    rows = [
        {"id": line["id"], "rate": rate, "tax": tax}
        for (line, rate), tax in zip(moved, taxes, strict=True)
    ]
    if rows:
        columns = dict.fromkeys(("id", "rate", "tax"), "bigint")
        execute(
            connection,
            "UPDATE order_lines AS l SET tax_rate_ppm = r.rate, tax_minor = r.tax,"
            " version = l.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
            {**stamp, "rows": as_rows(rows)},
        )
    # Shipping of an order whose goods' rates stay was taxed by another system or by this place.
    if rows and head["shipping_minor"] and not any(line["shipped"] for line in lines):
        rate = charges.tax_rate(rules, *place, charges.SHIPPING)
        tax = charges.taxes([head["shipping_minor"]], [rate], included=included)[0]
        execute(
            connection,
            "UPDATE orders SET shipping_tax_minor = :tax, version = version + 1,"
            " changed_by = :actor, changed_at = :now WHERE id = :order_id",
            {**stamp, "tax": tax, "order_id": head["id"]},
        )


def ship_from_the_best(
    connection: Connection, actor: Actor, head: Mapping[str, Any], seen: Seen
) -> None:
    """Send an order's unpicked shipments from the one warehouse that routing would choose now.

    They stay where they are when routing would use several, or would leave something to wait, or
    when the order may not be split and a part of it is on its way.
    """
    if not head["allow_split"] and _is_under_way(connection, head["id"]):
        return
    held = execute(
        connection,
        "SELECT s.id, s.warehouse_id, x.sku_id, k.code, x.quantity FROM shipments AS s"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id JOIN skus AS k ON k.id = x.sku_id"
        f" WHERE s.order_id = :id AND {shipments.UNPICKED} ORDER BY x.id",
        {"id": head["id"]},
    ).fetchall()
    if not held:
        return
    units: dict[str, int] = {}
    for _, _, _, code, quantity in held:
        units[code] = units.get(code, 0) + quantity
    # What the order has where it is, it would have there again: as if a basket held it.
    own = [Hold(0, warehouse_id, sku_id, quantity) for _, warehouse_id, sku_id, _, quantity in held]
    routing = route_order(
        additions.submission(head, []),
        _unpriced([(seen.known[code], quantity) for code, quantity in units.items()]),
        replace(seen, holds=own),
    )
    used = {warehouse_id for warehouse_id, _, _ in routing.allocations}
    if any(routing.backordered) or len(used) != 1:
        return
    (best,) = used
    leaving = sorted({row[0] for row in held if row[1] != best})
    if leaving:
        code = next(site.code for site in seen.sites if site.id == best)
        reroute.reroute(connection, actor, leaving, to=code, reason="the address changed")


def _is_under_way(connection: Connection, order_id: int) -> bool:
    row = execute(
        connection,
        "SELECT count(*) FROM shipments AS s WHERE s.order_id = :id AND s.status <> 'cancelled'"
        f" AND NOT ({shipments.UNPICKED})",
        {"id": order_id},
    ).fetchone()
    return bool(row[0])


def _unpriced(wanted: Sequence[tuple[SkuTerms, int]]) -> Priced:
    lines = [PricedLine(sku, quantity, 0, "", 0) for sku, quantity in wanted]
    return Priced(lines, Totals(0, 0, 0), {})
