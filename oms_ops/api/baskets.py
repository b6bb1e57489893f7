"""Routes of the basket holds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from oms_ops.api.parts import Caller, Database
from oms_ops.database import reading, run
from oms_ops.fulfilment import arrivals
from oms_ops.shapes import Body
from oms_ops.stock import baskets
from oms_ops.stock.names import Line

router = APIRouter(prefix="/stock/holds", tags=["stock"])


class HoldLine(Body):
    """Units of a SKU that the basket wants; 0 lets go of it."""

    sku: str
    quantity: int


class HoldBody(Body):
    """What a basket (the caller's own key) of a channel holds, and for how many minutes."""

    basket: str
    lines: list[HoldLine] = Field(max_length=200)
    minutes: int | None = None
    warehouse: str | None = None
    channel: str = "web"


@router.post("", status_code=201)
def hold_basket(engine: Database, actor: Caller, body: HoldBody) -> dict[str, Any]:
    """Hold units for a basket; a repeat changes nothing but the time that they are held."""
    lines = [Line(line.sku, line.quantity) for line in body.lines]
    return run(
        engine,
        lambda c: arrivals.hold_basket(
            c,
            actor,
            body.basket,
            lines,
            body.minutes,
            warehouse=body.warehouse,
            channel=body.channel,
        ),
        # As many as a capture has: both race for the last units.
        attempts=50,
    )


@router.get("/{basket}")
def show_basket(engine: Database, actor: Caller, basket: str) -> dict[str, Any]:
    """Show what a basket holds."""
    with reading(engine) as connection:
        return baskets.show(connection, actor, basket)


@router.delete("/{basket}", status_code=204)
def release_basket(engine: Database, actor: Caller, basket: str) -> None:
    """Let go of all that a basket holds."""
    run(engine, lambda c: arrivals.release_basket(c, actor, basket))
