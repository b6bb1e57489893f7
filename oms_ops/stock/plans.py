"""The moves that one request makes: what they take from where, checked together, then posted.

What a move does to a warehouse follows from the kinds of its two places alone: units that leave the
floor and the bins must be promised to nobody, what leaves the floor must lie there, and what is put
in a bin must have room.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.errors import FieldError, OutOfStock
from oms_ops.stock import capacity, floor, ledger
from oms_ops.stock.floor import Leaving
from oms_ops.stock.ledger import PlaceMove
from oms_ops.stock.names import Place
from oms_ops.stock.places import NotInPlace
from oms_ops.stock.tables import ON_HAND_KINDS


@dataclass(slots=True)
class Plan:
    """Moves to post in one go; ``fields`` names the field of the request that a bin was in."""

    moves: list[PlaceMove] = field(default_factory=list)
    sources: list[Place] = field(default_factory=list)
    targets: list[Place] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    _lines: list[tuple[str, str]] = field(default_factory=list)
    _change: dict[tuple[int, int], int] = field(default_factory=dict)
    _named: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    _off_floor: list[Leaving] = field(default_factory=list)

    def add(
        self,
        named: str,
        sku: str,
        sku_id: int,
        source: Place,
        target: Place,
        quantity: int,
        reason: str,
        reference: str | None = None,
        unit_cost_minor: int | None = None,
    ) -> None:
        """Add a move of ``quantity`` units, asked for by the line ``named`` of the request."""
        self.moves.append(
            PlaceMove(source.id, target.id, sku_id, quantity, reason, reference, unit_cost_minor)
        )
        self._lines.append((named, sku))
        self.sources.append(source)
        self.targets.append(target)
        self.fields[target.code] = f"{named}.target"
        for place, units in ((source, -quantity), (target, quantity)):
            if place.kind in ON_HAND_KINDS and place.warehouse_id is not None:
                pair = (place.warehouse_id, sku_id)
                self._change[pair] = self._change.get(pair, 0) + units
                self._named.setdefault(pair, (named, sku))
        if source.kind == "storage" and source.warehouse_id is not None:
            self._off_floor.append(Leaving(named, sku, source.warehouse_id, sku_id, quantity))

    @property
    def rising(self) -> set[tuple[int, int]]:
        """The pairs (warehouse id, SKU id) that get more on hand: it may fill backorders."""
        return {pair for pair, units in self._change.items() if units > 0}

    @property
    def falling(self) -> dict[tuple[int, int], int]:
        """The units that each pair (warehouse id, SKU id) will have less on hand."""
        return {pair: -units for pair, units in self._change.items() if units < 0}

    def _faults(self, short: set[tuple[int, int]]) -> list[FieldError]:
        """Name the lines that take more out of bins and quarantines than these hold."""
        taken = zip(self.moves, self.sources, self._lines, strict=True)
        return [
            FieldError(f"{named}.quantity", "not_in_place", f"{place.code} holds less {sku}")
            for m, place, (named, sku) in taken
            if (place.id, m.sku_id) in short
        ]

    def post(self, connection: Connection, actor: Actor, *, limited: bool = True) -> None:
        """Check the moves and post them; ``limited`` False lets a bin hold beyond its capacity.

        Raises:
            OutOfStock: more is taken than is there or than is promised to nobody; it says how much.
            Conflict: a bin would hold more than its capacity.
        """
        bins = self.targets if limited else []
        filled = {place.code: place.id for place in bins if place.kind == "bin"}
        capacity.lock(connection, sorted(filled.values()))
        leaving = [
            Leaving(*self._named[pair], *pair, units) for pair, units in self.falling.items()
        ]
        if leaving or self._off_floor:
            floor.refuse(connection, leaving, self._off_floor)
        try:
            ledger.move(connection, actor, self.moves)
        except NotInPlace as refusal:
            raise OutOfStock(refusal.message, self._faults(refusal.short)) from None
        if filled:
            capacity.refuse_over(connection, {code: self.fields[code] for code in filled})
