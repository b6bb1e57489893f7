"""Record what was picked: goods go from their bins to the floor, where they wait to be packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment import picks, shortages, walk
from oms_ops.fulfilment.picks import OpenPick
from oms_ops.fulfilment.shortages import Short
from oms_ops.fulfilment.transitions import advance
from oms_ops.fulfilment.waves import find_open
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.stock import ledger
from oms_ops.stock.ledger import PlaceMove


def pick(connection: Connection, actor: Actor, shipment_ids: Sequence[int]) -> None:
    """Record that all of some shipments was picked, in a wave as planned there.

    Without a wave, the goods are taken from their bins in the order of the walk, then from the
    floor.

    Raises:
        Conflict: a shipment or its order is not in a status for it.
    """
    moved = advance(connection, actor, shipment_ids, "pick")
    in_waves = [m.id for m in moved if m.wave_id is not None]
    moves: list[PlaceMove] = []
    if in_waves:
        planned = picks.still_open(connection, shipment_ids=in_waves)
        found = {each.id: each.units for each in planned}
        picks.record(connection, actor, planned, found)
        moves += _to_floor(connection, planned, found)
    alone = [m.id for m in moved if m.wave_id is None]
    if alone and walk.has_bins(connection):
        floors = walk.floors(connection)
        takes = walk.assign(connection, walk.needs_of(connection, alone))
        moves += [
            PlaceMove(t.location_id, floors[t.need.warehouse_id], t.need.sku_id, t.units, "pick",
                      t.need.number)
            for t in takes
            if not t.on_floor
        ]  # fmt: skip
    ledger.move(connection, actor, moves)
    picks.finish_waves(connection, actor, {m.wave_id for m in moved if m.wave_id is not None})


def confirm(
    connection: Connection, actor: Actor, number: str, found: Mapping[int, int] | None = None
) -> None:
    """Record the units ``found`` by pick id; without it, all that is open of the wave as planned.

    Without it, what is of a held order stays open, and the wave with it.
    A shipment is picked when all of its picks are. What was not found is set aside and sought
    elsewhere (:mod:`oms_ops.fulfilment.shortages`).

    Raises:
        NotFound: there is no such wave.
        ValidationFailed: a pick is not an open one of the wave, or more was found than planned.
        Conflict: the wave is closed; a pick that is named, or all there are, is of a held order or
            was recorded meanwhile.
    """
    actor.require(FULFIL)
    wave = find_open(connection, number)
    planned = {each.id: each for each in picks.still_open(connection, wave_id=wave.id)}
    units = {i: each.units for i, each in planned.items()} if found is None else dict(found)
    _check(units, planned)
    chosen = [planned[pick_id] for pick_id in sorted(units)]
    shipment_ids = {each.need.shipment_id for each in chosen}
    statuses = lock_orders_of_shipments(connection, shipment_ids)
    if found is None and chosen:
        chosen = [each for each in chosen if statuses[each.order_id] == "open"]
        if not chosen:
            raise picks.refusal(connection, set(planned))
    shorts = [
        Short(each, each.units - units[each.id]) for each in chosen if units[each.id] < each.units
    ]
    settlement = shortages.divide(connection, shorts)
    picks.record(connection, actor, chosen, units)
    if settlement.gone:
        shortages.reroute(connection, actor, settlement)
    moves = _to_floor(connection, chosen, units)
    if shorts:
        shortages.set_aside(connection, actor, moves, shorts)
        shortages.send_again(connection, actor, wave.id, settlement)
    else:
        ledger.move(connection, actor, moves)
    done = picks.done_shipments(connection, shipment_ids)
    advance(connection, actor, done, "pick")
    picks.finish_waves(connection, actor, {wave.id})


def _check(units: Mapping[int, int], planned: Mapping[int, OpenPick]) -> None:
    faults = []
    for pick_id, found in units.items():
        field = f"picks.{pick_id}"
        each = planned.get(pick_id)
        if each is None:
            faults.append(FieldError(field, "not_open", "is no open pick of this wave"))
        elif not 0 <= found <= each.units:
            faults.append(FieldError(field, "out_of_range", f"between 0 and {each.units}"))
    if faults:
        raise ValidationFailed("Some picks cannot be recorded.", faults)


def _to_floor(
    connection: Connection, chosen: Sequence[OpenPick], found: Mapping[int, int]
) -> list[PlaceMove]:
    """Return the moves of what was found in bins; what lies on the floor only changes hands."""
    floors = walk.floors(connection)
    return [
        PlaceMove(
            each.location_id, floors[each.need.warehouse_id], each.need.sku_id, found[each.id],
            "pick", each.need.number,
        )
        for each in chosen
        if not each.on_floor and found[each.id]
    ]  # fmt: skip
