"""Routes of the bins and of moves within a warehouse."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.api.parts import MOST_LINES, Caller, Cursor, Database, Limit, Once, callers_words
from oms_ops.database import reading, run
from oms_ops.shapes import Body
from oms_ops.stock import bin_moves, bins, putaway
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin

router = APIRouter(prefix="/stock", tags=["stock"])


class BinBody(Body):
    """A bin: its zone, its place in the pickers' walk, how many units it takes at most."""

    code: str
    zone: str | None = None
    pick_sequence: int | None = None
    capacity_units: int | None = None


class BinsBody(Body):
    """Bins to create in a warehouse."""

    warehouse: str
    bins: list[BinBody] = Field(max_length=MOST_LINES)


class BinChange(Body):
    """What to change of a bin; what is left out stays."""

    zone: str | None = None
    pick_sequence: int | None = None
    capacity_units: int | None = None
    is_active: bool = True


class PutawayLine(Body):
    """Units of a SKU to put from the floor into a bin."""

    sku: str
    quantity: int
    bin: str


class PutawayBody(Body):
    """What was put away in a warehouse."""

    warehouse: str
    lines: list[PutawayLine] = Field(max_length=MOST_LINES)


class MoveLine(Body):
    """Units of a SKU from one location to another; without ``source``, from the floor."""

    sku: str
    quantity: int
    source: str | None = None
    target: str


class MovesBody(Body):
    """What was moved in a warehouse."""

    warehouse: str
    lines: list[MoveLine] = Field(max_length=MOST_LINES)


@router.post("/bins", status_code=201)
def create_bins(engine: Database, actor: Caller, body: BinsBody) -> dict[str, Any]:
    """Create bins."""
    new = [NewBin(b.code, b.zone, b.pick_sequence, b.capacity_units) for b in body.bins]
    return {"data": run(engine, lambda c: bins.create(c, actor, body.warehouse, new))}


@router.get("/bins")
def list_bins(
    engine: Database,
    actor: Caller,
    warehouse: str,
    zone: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Show a warehouse's bins and its quarantine, with what lies in each."""
    with reading(engine) as connection:
        page, cursor = bins.contents(
            connection, actor, warehouse, zone=zone, after=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.patch("/bins/{code}", status_code=204)
def change_bin(engine: Database, actor: Caller, code: str, body: BinChange) -> None:
    """Change a bin, or close it."""
    changes = body.model_dump(exclude_unset=True)
    run(engine, lambda c: bins.change(c, actor, code, changes))


@router.post("/bins/moves", status_code=201)
def move_goods(engine: Database, actor: Caller, once: Once, body: MovesBody) -> dict[str, Any]:
    """Move goods from bin to bin, to the floor or from it."""
    moves = [BinMove(line.sku, line.quantity, line.target, line.source) for line in body.lines]
    return once.run(engine, actor, lambda c: _move(c, actor, body.warehouse, moves))


@router.post("/putaway", status_code=201)
def put_away(engine: Database, actor: Caller, once: Once, body: PutawayBody) -> dict[str, Any]:
    """Put goods from the floor into bins."""
    moves = [BinMove(line.sku, line.quantity, line.bin) for line in body.lines]
    with callers_words({r"\.target$": ".bin"}):
        return once.run(engine, actor, lambda c: _move(c, actor, body.warehouse, moves))


def _move(
    connection: Connection, actor: Actor, warehouse: str, moves: list[BinMove]
) -> dict[str, Any]:
    touched = bin_moves.move(connection, actor, warehouse, moves)
    return {"data": [p for p in bins.shown(connection, touched) if p["kind"] == "bin"]}


@router.get("/putaway/suggestions")
def suggest_putaway(
    engine: Database,
    actor: Caller,
    warehouse: str,
    sku: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Show what lies on the floor, and the bins to put it in."""
    with reading(engine) as connection:
        page, cursor = putaway.suggestions(
            connection, actor, warehouse, sku=sku, after=after, limit=limit
        )
    return {"data": page, "next": cursor}
