"""A pick came short: the units are sought elsewhere in the house, then in other warehouses.

What was not found is set aside in the quarantine, where a count decides about it. As far as other
places of the warehouse have units that are promised to nobody, the picker is sent there; the rest
leaves the shipment (:func:`oms_ops.orders.reroute.reallocate`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_rows, execute, rowset
from oms_ops.errors import OutOfStock
from oms_ops.fulfilment import picks, walk
from oms_ops.fulfilment.picks import OpenPick
from oms_ops.fulfilment.walk import Need, Walk
from oms_ops.orders.reroute import Shortage, reallocate
from oms_ops.stock import floor, ledger
from oms_ops.stock.ledger import PlaceMove
from oms_ops.stock.names import own

#: Stands in the order's routing and in the message to its customer.
REASON = "not found when it was picked"

_Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Short:
    """``units`` of a pick that were not where they should be."""

    pick: OpenPick
    units: int


@dataclass(slots=True)
class Settlement:
    """What becomes of short units: needs sought again in the house, and what leaves it."""

    again: list[Need] = field(default_factory=list)
    gone: dict[int, int] = field(default_factory=dict)
    short: dict[_Pair, set[int]] = field(default_factory=lambda: defaultdict(set))
    gone_of: dict[_Pair, int] = field(default_factory=lambda: defaultdict(int))


def divide(connection: Connection, shorts: Sequence[Short]) -> Settlement:
    """Divide short units into what other places of the house have and what they do not.

    Reads without locks, since orders are locked before levels: :func:`send_again` looks again.
    """
    settlement = Settlement()
    for each in shorts:
        settlement.short[each.pick.pair].add(each.pick.location_id)
    available, elsewhere = _capacity(connection, settlement)
    left = {pair: max(0, min(available[pair], elsewhere[pair])) for pair in settlement.short}
    for each in shorts:
        need, pair = each.pick.need, each.pick.pair
        units = min(each.units, left[pair])
        left[pair] -= units
        if units:
            again = Need(need.shipment_id, need.number, need.shipment_line_id, *pair, units)
            settlement.again.append(again)
        if gone := each.units - units:
            known = settlement.gone.get(need.shipment_line_id, 0)
            settlement.gone[need.shipment_line_id] = known + gone
            settlement.gone_of[pair] += gone
    return settlement


def reroute(connection: Connection, actor: Actor, settlement: Settlement) -> None:
    """Take what the house does not have off its shipments."""
    takes = [Shortage(line, units) for line, units in sorted(settlement.gone.items())]
    reallocate(connection, actor, takes, reason=REASON)


def set_aside(
    connection: Connection, actor: Actor, moves: Sequence[PlaceMove], shorts: Sequence[Short]
) -> None:
    """Move what was not found to the quarantine, together with the other ``moves`` of the pick.

    Raises:
        Retry: the units that were to replace what is missing were sold meanwhile.
    """
    quarantine = own(connection, "quarantine")
    missing = [
        PlaceMove(
            each.pick.location_id, quarantine[each.pick.need.warehouse_id].id,
            each.pick.need.sku_id, each.units, "short_pick", each.pick.need.number,
        )
        for each in shorts
    ]  # fmt: skip
    try:
        ledger.move(connection, actor, [*moves, *missing])
    except OutOfStock as refusal:
        if any(error.code == "not_available" for error in refusal.errors):
            raise Retry("units were sold while a pick came short") from refusal
        raise


def send_again(connection: Connection, actor: Actor, wave_id: int, settlement: Settlement) -> None:
    """Send pickers to the other places; the moves before locked the levels.

    Raises:
        Retry: the house has less or more by now than it had for :func:`divide`.
    """
    available, elsewhere = _capacity(connection, settlement)
    for pair in settlement.short:
        wanted = sum(n.units for n in settlement.again if (n.warehouse_id, n.sku_id) == pair)
        rest = elsewhere[pair] - wanted
        if rest < 0 or (settlement.gone_of[pair] and min(available[pair], rest) > 0):
            raise Retry("stock moved while a pick came short")
    found = _elsewhere(walk.read(connection, settlement.short), settlement)
    takes = walk.plan(settlement.again, found, walk.floors(connection))
    if takes:
        picks.insert(connection, actor, wave_id, takes)


def _elsewhere(found: Walk, settlement: Settlement) -> Walk:
    """Leave out the places that came short: whatever the books say, a picker was there."""
    return {
        pair: [place for place in places if place.location_id not in settlement.short[pair]]
        for pair, places in found.items()
    }


def _capacity(
    connection: Connection, settlement: Settlement
) -> tuple[dict[_Pair, int], dict[_Pair, int]]:
    """Return the units promised to nobody, and those that other places have free, by pair."""
    held = floor.holdings(connection, settlement.short)
    found = _elsewhere(walk.read(connection, settlement.short, lock=False), settlement)
    floors = walk.floors(connection)
    on_the_floor = _spoken_for(connection, list(settlement.short), floors)
    available, elsewhere = {}, {}
    for pair, short in settlement.short.items():
        has = held[pair]
        loose = 0 if floors[pair[0]] in short else has.loose - on_the_floor.get(pair, 0)
        available[pair] = has.available
        elsewhere[pair] = sum(place.free for place in found.get(pair, ())) + max(0, loose)
    return available, elsewhere


def _spoken_for(
    connection: Connection, pairs: Sequence[_Pair], floors: dict[int, int]
) -> dict[_Pair, int]:
    """Return the units on the floor that pickers were sent for, by pair."""
    columns = dict.fromkeys(("warehouse_id", "location_id", "sku_id"), "bigint")
    rows = execute(
        connection,
        "SELECT r.warehouse_id, r.sku_id, sum(k.quantity)"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r JOIN picks AS k"
        " ON k.location_id = r.location_id AND k.sku_id = r.sku_id AND k.picked IS NULL"
        " GROUP BY r.warehouse_id, r.sku_id",
        {
            "rows": as_rows(
                {"warehouse_id": w, "location_id": floors[w], "sku_id": s} for w, s in pairs
            )
        },
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}
