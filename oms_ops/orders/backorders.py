"""Give stock that came in to the lines that wait for it, oldest first.

An order waits at its home, but one that may be split is served from any warehouse: in turn with
those that wait there, as far as the shop's rules let it be split so often, and from a warehouse
that serves zones only into these. What a channel must leave to others is left by its backorders.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.notifications import outbox
from oms_ops.orders import promises, shipments
from oms_ops.orders.locks import lock_waiting
from oms_ops.orders.supply import may_serve
from oms_ops.rules import store
from oms_ops.rules.document import Rules
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}


def fill(
    connection: Connection,
    actor: Actor,
    pairs: Iterable[tuple[int, int]],
    *,
    from_supply: bool = False,
    sent_away: Collection[int] = (),
) -> int:
    """Allocate what is available of ``pairs`` (warehouse id, SKU id) to backordered lines.

    Call it in the transaction that raised the levels, after it did: their rows are then locked, so
    the units seen are the units there are. The caller has locked the waiting orders before the
    levels (:func:`oms_ops.orders.locks.lock_waiting`); those that came since are locked here.
    Returns the units allocated; customers are told. The promises of those that wait on follow: with
    ``from_supply``, when the units are those of purchase orders, they may come later, too. Orders
    ``sent_away`` from these warehouses a moment ago are served by their home alone.
    """
    wanted_pairs = sorted(set(pairs))
    waiting = lock_waiting(connection, wanted_pairs)
    if not waiting:
        return 0
    rules = store.current(connection).rules
    takes = _takes(connection, wanted_pairs, waiting, rules, sent_away)
    if takes:
        _allocate(connection, actor, takes)
    served = {take["order_id"] for take in takes}
    promises.update(connection, actor, wanted_pairs, order_ids=served, only_sooner=not from_supply)
    # Where an order waits that was served from elsewhere, there is more for the others.
    homes = {(take["home_id"], take["sku_id"]) for take in takes} - set(wanted_pairs)
    promises.update(connection, actor, homes, only_sooner=True)
    return sum(take["take"] for take in takes)


def _allocate(connection: Connection, actor: Actor, takes: Sequence[dict[str, Any]]) -> None:
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    columns = {"order_line_id": "bigint", "take": "bigint"}
    # A line may be served from two warehouses at once.
    lines: dict[int, int] = defaultdict(int)
    for take in takes:
        lines[take["order_line_id"]] += take["take"]
    updated = connection.execute(
        sa.text(
            "UPDATE order_lines AS l SET backordered = l.backordered - r.take,"
            " allocated = l.allocated + r.take, version = l.version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " WHERE l.id = r.order_line_id AND l.backordered >= r.take"
        ),
        {"rows": as_rows({"order_line_id": i, "take": n} for i, n in lines.items()), **stamp},
    ).rowcount
    if updated != len(lines):
        raise Retry("a backordered line was cancelled meanwhile")
    shipments.add(connection, takes, stamp)
    wanted = [Quantity(t["warehouse_id"], t["sku_id"], t["take"]) for t in takes]
    if not ledger.allocate(connection, actor, wanted):
        raise Retry("stock moved between the plan and the claim")
    _tell(connection, takes)


def _takes(
    connection: Connection,
    pairs: Sequence[tuple[int, int]],
    waiting: Sequence[int],
    rules: Rules,
    sent_away: Collection[int],
) -> list[dict[str, Any]]:
    """Return what each line of the waiting orders gets: what those that waited longer leave."""
    free: dict[tuple[int, int], int] = {}
    needs: dict[int, int] = {}
    takes = []
    candidates = _candidates(connection, pairs, waiting)
    used = _warehouses(connection, {c["order_id"] for c in candidates if not c["at_home"]})
    for line in candidates:
        pair, sources = (line["warehouse_id"], line["sku_id"]), used[line["order_id"]]
        left = free.setdefault(pair, line["available"])
        need = needs.setdefault(line["order_line_id"], line["backordered"])
        units = min(need, left - rules.reserve_of(line["channel"]))
        elsewhere = line["order_id"] not in sent_away and may_serve(
            rules.routing,
            line["warehouse_id"],
            line["warehouse"],
            (line["ship_country"], line["ship_region"]),
            sources=sources,
        )
        if units <= 0 or not (line["at_home"] or elsewhere):
            continue
        free[pair] = left - units
        needs[line["order_line_id"]] = need - units
        sources.add(line["warehouse_id"])
        takes.append({**line, "take": units})
    return takes


def _candidates(
    connection: Connection, pairs: Sequence[tuple[int, int]], waiting: Sequence[int]
) -> list[dict[str, Any]]:
    """Return a row a line and warehouse that might serve it, those that wait longest first."""
    rows = connection.execute(
        sa.text(
            "WITH waiting AS ("
            " SELECT l.id AS order_line_id, l.order_id, l.sku_id, v.warehouse_id,"
            " w.code AS warehouse, o.warehouse_id AS home_id, o.warehouse_id = v.warehouse_id"
            " AS at_home, o.placed_at, o.number, o.channel, o.ship_country, o.ship_region,"
            " l.backordered, c.email, v.on_hand - v.allocated AS available, sum(l.backordered)"
            " OVER (PARTITION BY v.id, o.channel, o.warehouse_id = v.warehouse_id"
            "  ORDER BY o.placed_at, l.id) - l.backordered AS claimed_before"
            f" FROM ({rowset(connection, 'pairs', _PAIR)}) AS p"
            " JOIN stock_levels AS v ON v.sku_id = p.sku_id AND v.warehouse_id = p.warehouse_id"
            " AND v.on_hand > v.allocated"
            " JOIN warehouses AS w ON w.id = v.warehouse_id"
            " JOIN order_lines AS l ON l.sku_id = p.sku_id AND l.backordered > 0"
            " JOIN orders AS o ON o.id = l.order_id AND o.status = 'open'"
            f" AND o.id IN ({ids(connection, 'waiting')})"
            " AND (o.warehouse_id = v.warehouse_id OR (o.allow_split AND w.is_active))"
            " JOIN customers AS c ON c.id = o.customer_id)"
            # Of one channel at home, whoever comes after all that there is gets nothing.
            " SELECT * FROM waiting WHERE available > claimed_before OR NOT at_home"
            " ORDER BY placed_at, order_line_id, CASE WHEN at_home THEN 0 ELSE 1 END, warehouse_id"
        ),
        {
            "pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in pairs),
            "waiting": as_ids(waiting),
        },
    ).mappings()
    return [dict(row) for row in rows]


def _warehouses(connection: Connection, order_ids: Iterable[int]) -> defaultdict[int, set[int]]:
    """Return per order the warehouses that send a part of it."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    if wanted := sorted(order_ids):
        rows = execute(
            connection,
            "SELECT DISTINCT order_id, warehouse_id FROM shipments"
            f" WHERE order_id IN ({ids(connection, 'ids')}) AND status <> 'cancelled'",
            {"ids": as_ids(wanted)},
        )
        for order_id, warehouse_id in rows:
            found[order_id].add(warehouse_id)
    return found


def _tell(connection: Connection, takes: Sequence[dict[str, Any]]) -> None:
    told = {(t["number"], t["email"]) for t in takes}
    outbox.post_many(
        connection,
        "order.backorder_filled",
        [(email, {"order": number}) for number, email in sorted(told)],
    )
