"""Routes of the picking: open waves, get their pick lists, tell what was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.api.parts import MOST_LINES, Caller, Cursor, Database, Limit, Once
from oms_ops.database import reading, run
from oms_ops.fulfilment import picking, picklist, waves
from oms_ops.fulfilment.waves import USUAL_SHIPMENTS, Limits
from oms_ops.shapes import Body

router = APIRouter(prefix="/waves", tags=["fulfilment"])


class WaveBody(Body):
    """Where to pick, and how much at once."""

    warehouse: str
    zone: str | None = None
    max_shipments: int = USUAL_SHIPMENTS
    max_units: int | None = None


class FoundBody(Body):
    """Units found by pick id; without any, all that is open was found as planned."""

    picks: Annotated[dict[int, int], Field(max_length=MOST_LINES)] | None = None


@router.post("", status_code=201)
def open_wave(engine: Database, actor: Caller, once: Once, body: WaveBody) -> dict[str, Any]:
    """Open a wave of the oldest shipments of a warehouse; show its pick list."""
    limits = Limits(body.zone, body.max_shipments, body.max_units)

    def work(connection: Connection) -> dict[str, Any]:
        number = waves.open_wave(connection, actor, body.warehouse, limits)
        return picklist.of_wave(connection, number)

    return once.run(engine, actor, work)


@router.get("")
def list_waves(
    engine: Database,
    actor: Caller,
    status: Literal["open", "done", "cancelled"] | None = None,
    warehouse: str | None = None,
    after: Cursor = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List waves, newest first; ``next`` is the cursor for ``after``."""
    with reading(engine) as connection:
        page, cursor = picklist.listing(
            connection, actor, status=status, warehouse=warehouse, before=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.get("/{number}")
def get_wave(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show a wave with its stops in the order of the walk."""
    with reading(engine) as connection:
        return picklist.get(connection, actor, number)


@router.get("/{number}/pick-list", response_class=Response)
def get_pick_list(
    engine: Database,
    actor: Caller,
    number: str,
    form: Annotated[Literal["html", "csv"], Query(alias="format")] = "html",
) -> Response:
    """Return the pick list to print, or as CSV."""
    with reading(engine) as connection:
        wave = picklist.get(connection, actor, number)
    if form == "csv":
        name = f'attachment; filename="{wave["number"]}.csv"'
        return Response(
            picklist.as_csv(wave), media_type="text/csv", headers={"Content-Disposition": name}
        )
    return Response(picklist.as_page(wave), media_type="text/html")


@router.post("/{number}/picks")
def record_picks(
    engine: Database, actor: Caller, number: str, body: FoundBody | None = None
) -> dict[str, Any]:
    """Record what was found; what was not is sought elsewhere in the house, then in others."""

    def work(connection: Connection) -> dict[str, Any]:
        picking.confirm(connection, actor, number, body.picks if body else None)
        return picklist.of_wave(connection, number)

    return run(engine, work)


@router.post("/{number}/cancel")
def cancel_wave(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Give back the shipments of which nothing was picked; what was begun is picked to its end."""

    def work(connection: Connection) -> dict[str, Any]:
        freed = waves.cancel(connection, actor, number)
        return {"shipments": freed, "wave": picklist.of_wave(connection, number)}

    return run(engine, work)
