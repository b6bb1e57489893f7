"""What comes of a SKU, who waits for it, and in which turn they are served: the oldest order first.

Goods serve those that wait where they arrive, and orders that may be split from wherever the rules
let them be served. So all that wait for a SKU are one queue, at whatever home.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_ids, execute, ids, read_day, read_time
from oms_ops.rules.document import RoutingRules, place_names
from oms_ops.settings import settings

#: Days that something late is expected to stay away longer, at most: a supplier who is silent for a
#: year is not a year away, and a slip in a date is not a promise for the next decade.
MOST_DELAY = 30


@dataclass(frozen=True, slots=True)
class Waiting:
    """Units of a SKU that wait at a home, of an order to a place (country, region).

    ``splits`` tells that the order may be split; ``sources`` are the warehouses that send parts of
    it then.
    """

    home_id: int
    sku_id: int
    units: int
    placed_at: datetime
    splits: bool = False
    place: tuple[str, str | None] = ("", None)
    sources: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WaitingLine(Waiting):
    """An order line that waits."""

    id: int = 0
    order_id: int = 0
    promised_on: date | None = None

    @property
    def pair(self) -> tuple[int, int]:
        """The home and the SKU."""
        return self.home_id, self.sku_id


class Goods(NamedTuple):
    """Units that are to come to a warehouse; a closed one serves nobody elsewhere."""

    day: date
    warehouse_id: int
    units: int
    warehouse: str
    is_open: bool


@dataclass(slots=True)
class Supply:
    """What is coming of a SKU; ``fallback`` is the day of goods still to be ordered, if any are."""

    fallback: date | None
    goods: list[Goods] = field(default_factory=list)

    def comes_to(self, warehouse_id: int) -> bool:
        """Tell whether anything comes to a warehouse."""
        return any(each.warehouse_id == warehouse_id for each in self.goods)

    def days(self, queue: Sequence[Waiting], rules: RoutingRules) -> list[date | None]:
        """Return the day on which all units of each in the ``queue`` have come.

        Who needs more than is coming waits for goods still to be ordered, and behind all that is
        coming to the same home: it fills older orders first. So no day is earlier than one further
        up the queue of a home.
        """
        left = [each.units for each in queue]
        sources = [set(each.sources) for each in queue]
        found: list[date | None] = [None] * len(queue)
        lanes: dict[int, list[int]] = {}
        last: dict[int, date] = {}
        for goods in sorted(self.goods):
            last[goods.warehouse_id] = goods.day
            lane = lanes.get(goods.warehouse_id)
            if lane is None:
                lane = _lane(queue, goods)
            units, waits = goods.units, []
            for place, index in enumerate(lane):
                if not units:
                    waits += lane[place:]
                    break
                if not left[index]:
                    continue
                if _may_take(queue[index], sources[index], goods, rules):
                    taken = min(units, left[index])
                    units -= taken
                    left[index] -= taken
                    sources[index].add(goods.warehouse_id)
                    found[index] = goods.day
                if left[index]:
                    waits.append(index)
            lanes[goods.warehouse_id] = waits
        for index, each in enumerate(queue):
            if left[index]:
                day = last.get(each.home_id)
                found[index] = max(self.fallback, day) if self.fallback and day else self.fallback
        return found


def _lane(queue: Sequence[Waiting], goods: Goods) -> list[int]:
    return [
        index
        for index, each in enumerate(queue)
        if each.home_id == goods.warehouse_id or (each.splits and goods.is_open)
    ]


def _may_take(each: Waiting, sources: Collection[int], goods: Goods, rules: RoutingRules) -> bool:
    at_home = each.home_id == goods.warehouse_id
    return at_home or may_serve(
        rules, goods.warehouse_id, goods.warehouse, each.place, sources=sources
    )


def may_serve(
    rules: RoutingRules,
    warehouse_id: int,
    warehouse: str,
    place: tuple[str, str | None],
    *,
    sources: Collection[int],
) -> bool:
    """Tell whether a warehouse may send a part of an order that waits elsewhere.

    ``sources`` are the warehouses that send parts of it already.
    """
    if len({*sources, warehouse_id}) > rules.max_splits:
        return False
    served = rules.served.get(warehouse)
    return served is None or not served.isdisjoint(place_names(*place))


#: What comes when, by SKU and warehouse: open purchase orders, and what is in transit. A transfer
#: without a day promises nothing.
_COMING = """
SELECT warehouse_id, sku_id, due, CAST(sum(units) AS bigint) AS units FROM (
    SELECT o.warehouse_id, l.sku_id, coalesce(l.confirmed_on, o.expected_on) AS due,
        l.quantity - l.received AS units
    FROM wanted AS p JOIN purchase_order_lines AS l ON l.sku_id = p.sku_id
    JOIN purchase_orders AS o ON o.id = l.purchase_order_id
    WHERE o.status IN ('sent', 'confirmed', 'partly_received') AND l.received < l.quantity
    UNION ALL
    SELECT t.to_warehouse_id, l.sku_id, t.expected_on, l.sent - l.received - l.lost
    FROM wanted AS p JOIN transfer_lines AS l ON l.sku_id = p.sku_id
    AND l.sent > l.received + l.lost
    JOIN transfers AS t ON t.id = l.transfer_id
    WHERE t.expected_on IS NOT NULL
) AS coming GROUP BY warehouse_id, sku_id, due
"""


def asked(connection: Connection, sku_ids: Iterable[int]) -> Any:
    """Ask, in one statement, what comes of each SKU and how long its supplier takes."""
    return execute(
        connection,
        f"WITH wanted AS (SELECT k.id AS sku_id FROM skus AS k"
        f" WHERE k.id IN ({ids(connection, 'skus')}))"
        " SELECT p.sku_id, (SELECT min(s.lead_time_days) FROM supplier_terms AS t"
        "  JOIN suppliers AS s ON s.id = t.supplier_id"
        "  WHERE t.sku_id = p.sku_id AND t.is_preferred),"
        " b.due, b.warehouse_id, b.units, w.code, w.is_active FROM wanted AS p"
        f" LEFT JOIN ({_COMING}) AS b ON b.sku_id = p.sku_id"
        " LEFT JOIN warehouses AS w ON w.id = b.warehouse_id",
        {"skus": as_ids(sku_ids)},
    )


def told(answer: Any) -> dict[int, Supply]:
    """Return by SKU what :func:`asked` found."""
    today = clock.now().astimezone(settings().zone).date()
    supplies: dict[int, Supply] = {}
    for sku_id, lead_time, due, *goods in answer.fetchall():
        fallback = None if lead_time is None else today + timedelta(days=lead_time)
        supply = supplies.setdefault(sku_id, Supply(fallback))
        if (day := read_day(due)) is not None:
            warehouse_id, units, code, is_active = goods
            day = _expected(day, today)
            supply.goods.append(Goods(day, warehouse_id, int(units), code, bool(is_active)))
    return supplies


def _expected(due: date, today: date) -> date:
    """Return when goods that were due are expected.

    What is late may stay away as long again, up to :data:`MOST_DELAY` days: so a customer hears of
    it now and then, not every day.
    """
    return due if due >= today else today + min(today - due, timedelta(days=MOST_DELAY))


#: The warehouses that send a part of the order of a line ``l``, which may be split.
_SOURCES = (
    "CASE WHEN l.allow_split THEN (SELECT {array}(DISTINCT s.warehouse_id) FROM shipments AS s"
    " WHERE s.order_id = l.order_id AND s.status <> 'cancelled') END"
)
_WAITING = (
    "SELECT l.id, l.order_id, l.sku_id, o.warehouse_id, l.backordered, l.promised_on, o.placed_at,"
    " o.allow_split, o.ship_country, o.ship_region FROM order_lines AS l"
    " JOIN orders AS o ON o.id = l.order_id WHERE l.backordered > 0 AND l.sku_id IN ({skus})"
)
_ARRAY = {"sqlite": "json_group_array", "postgresql": "json_agg"}


def lines(connection: Connection, sku_ids: Iterable[int]) -> list[WaitingLine]:
    """Return the lines that wait for SKUs, in the order in which they are served."""
    rows = execute(
        connection,
        "SELECT l.warehouse_id, l.sku_id, l.backordered, l.placed_at, l.allow_split,"
        f" l.ship_country, l.ship_region, {_SOURCES.format(array=_ARRAY[connection.dialect.name])},"
        " l.id, l.order_id, l.promised_on"
        f" FROM ({_WAITING.format(skus=ids(connection, 'skus'))}) AS l ORDER BY l.placed_at, l.id",
        {"skus": as_ids(sku_ids)},
    ).fetchall()
    return [
        WaitingLine(**_read(row[:8]), id=row[8], order_id=row[9], promised_on=read_day(row[10]))
        for row in rows
    ]


def asked_before(connection: Connection, sku_ids: Iterable[int], moment: Any) -> Any:
    """Ask, in one statement, who waits for SKUs and came up to a moment, and whether any is behind.

    Those that wait one after another at a home and may not be split are as one: there may be many.
    """
    turn = (
        "sum(CASE WHEN l.allow_split THEN 1 ELSE 0 END)"
        " OVER (PARTITION BY l.sku_id ORDER BY l.placed_at, l.id) AS turn"
    )
    single = "CASE WHEN l.allow_split THEN l.id END"
    return execute(
        connection,
        "SELECT l.warehouse_id, l.sku_id, l.units, l.placed_at, l.allow_split, l.ship_country,"
        f" l.ship_region, {_SOURCES.format(array=_ARRAY[connection.dialect.name])}, l.behind FROM ("
        " SELECT l.warehouse_id, l.sku_id, CAST(sum(l.backordered) AS bigint) AS units,"
        " max(l.placed_at) AS placed_at, l.allow_split, min(l.ship_country) AS ship_country,"
        " min(l.ship_region) AS ship_region, min(l.order_id) AS order_id, l.behind, l.turn"
        f" FROM (SELECT l.*, {turn},"
        " l.placed_at > :moment AS behind"
        f" FROM ({_WAITING.format(skus=ids(connection, 'skus'))}) AS l) AS l"
        f" GROUP BY l.sku_id, l.behind, l.turn, l.allow_split, l.warehouse_id, {single}"
        # Who may be split begins the turn.
        ") AS l ORDER BY l.turn, CASE WHEN l.allow_split THEN 0 ELSE 1 END",
        {"skus": as_ids(sku_ids), "moment": moment},
    )


def told_before(answer: Any) -> tuple[list[Waiting], set[int]]:
    """Return what :func:`asked_before` found: the queue, and the SKUs with others behind it."""
    rows = answer.fetchall()
    queue = [Waiting(**_read(row[:8])) for row in rows if not row[8]]
    return queue, {row[1] for row in rows if row[8]}


def _read(row: Sequence[Any]) -> dict[str, Any]:
    home_id, sku_id, units, placed_at, splits, country, region, sources = row
    known = from_json(sources) if isinstance(sources, str) else sources
    return {
        "home_id": home_id,
        "sku_id": sku_id,
        "units": units,
        "placed_at": read_time(placed_at),
        "splits": bool(splits),
        "place": (country, region),
        "sources": frozenset(known or ()),
    }
