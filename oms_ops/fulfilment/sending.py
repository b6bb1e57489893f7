"""Send a transfer: its goods are picked from their bins, and who waits for them is promised them.

The stock knows neither pickers nor orders, so what joins them is here. As everywhere, what leaves a
warehouse leaves its floor; what lies in bins is brought there first, in the order of the walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.fulfilment import walk
from oms_ops.orders import promises
from oms_ops.orders.locks import lock_waiting
from oms_ops.stock import floor, ledger, transfers
from oms_ops.stock.floor import Holding
from oms_ops.stock.ledger import PlaceMove


def send_transfer(
    connection: Connection,
    actor: Actor,
    number: str,
    quantities: Mapping[int, int] | None = None,
    *,
    expected_on: date | None = None,
) -> None:
    """Send as :func:`oms_ops.stock.transfers.send` does, from the floor first, then from bins.

    What open picks were promised of a bin stays there. The days of those who wait where the goods
    go follow.

    Raises:
        What :func:`oms_ops.stock.transfers.send` does.
    """
    arriving = transfers.arriving(connection, actor, number)
    lock_waiting(connection, arriving)
    _bring_to_floor(connection, actor, number, transfers.leaving(connection, number, quantities))
    transfers.send(connection, actor, number, quantities, expected_on=expected_on)
    promises.update(connection, actor, arriving, only_sooner=True)


def _bring_to_floor(
    connection: Connection, actor: Actor, number: str, wanted: Mapping[tuple[int, int], int]
) -> None:
    """Pick what the floor lacks; where the bins lack it too, sending refuses and says how much."""
    held = floor.holdings(connection, wanted, lock=True)
    nothing = Holding(0, 0, 0, 0)
    short = {pair: units - held.get(pair, nothing).loose for pair, units in wanted.items()}
    short = {pair: units for pair, units in short.items() if units > 0}
    found = walk.read(connection, short)
    floors = walk.floors(connection)
    moves = []
    for pair, units in short.items():
        places, left = found.get(pair, []), units
        if sum(max(0, place.free) for place in places) < units:
            continue
        for place in places:
            part = min(left, max(0, place.free))
            left -= part
            if part:
                to = floors[pair[0]]
                moves.append(PlaceMove(place.location_id, to, pair[1], part, "pick", number))
    ledger.move(connection, actor, moves)
