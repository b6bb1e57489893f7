"""Routes of the cycle counts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.api.parts import MOST_LINES, Caller, Cursor, Database, Limit, Once, one_of
from oms_ops.database import reading, run
from oms_ops.fulfilment import counting
from oms_ops.shapes import Body, Note
from oms_ops.stock import counts, documents
from oms_ops.stock.counts import Counted
from oms_ops.stock.tables import COUNT_STATUSES

router = APIRouter(prefix="/stock/counts", tags=["stock"])


class CountBody(Body):
    """What to count in a warehouse: places, a zone's bins, or SKUs wherever they are."""

    warehouse: str
    locations: list[str] = Field(default=[], max_length=MOST_LINES)
    zone: str | None = None
    skus: list[str] = Field(default=[], max_length=MOST_LINES)
    reason: Note = ""


class CountedLine(Body):
    """Units of a SKU that were counted in a place."""

    location: str
    sku: str
    units: int


class CountedBody(Body):
    """What was counted."""

    lines: list[CountedLine] = Field(max_length=MOST_LINES)


@router.post("", status_code=201)
def open_count(engine: Database, actor: Caller, once: Once, body: CountBody) -> dict[str, Any]:
    """Open a count."""

    def work(connection: Connection) -> dict[str, Any]:
        number = counts.open_count(
            connection, actor, body.warehouse, locations=body.locations, zone=body.zone,
            skus=body.skus, reason=body.reason,
        )  # fmt: skip
        return documents.count(connection, number)

    return once.run(engine, actor, work)


@router.get("")
def list_counts(
    engine: Database,
    actor: Caller,
    status: Annotated[str | None, Query(pattern=one_of(COUNT_STATUSES))] = None,
    after: Cursor = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List counts, newest first."""
    with reading(engine) as connection:
        page, cursor = documents.list_counts(
            connection, actor, status=status, after=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.get("/{count}")
def get_count(engine: Database, actor: Caller, count: str) -> dict[str, Any]:
    """Show a count by its number or id."""
    with reading(engine) as connection:
        return documents.get_count(connection, actor, documents.number_of("SC", count))


@router.post("/{count}/lines")
def enter_lines(engine: Database, actor: Caller, count: str, body: CountedBody) -> dict[str, Any]:
    """Enter what was counted; a line can be counted again until the count is decided."""
    number = documents.number_of("SC", count)
    counted = [Counted(line.location, line.sku, line.units) for line in body.lines]

    def work(connection: Connection) -> dict[str, Any]:
        counts.enter(connection, actor, number, counted)
        return documents.count(connection, number)

    return run(engine, work)


@router.post("/{count}/approve")
def approve_count(engine: Database, actor: Caller, count: str) -> dict[str, Any]:
    """Post a count's variances; who counted does not approve."""
    number = documents.number_of("SC", count)

    def work(connection: Connection) -> dict[str, Any]:
        filled = counting.approve(connection, actor, number)
        return {**documents.count(connection, number), "backorders_filled": filled}

    return run(engine, work)


@router.post("/{count}/reject")
def reject_count(engine: Database, actor: Caller, count: str) -> dict[str, Any]:
    """Reject a count: nothing is posted."""
    number = documents.number_of("SC", count)

    def work(connection: Connection) -> dict[str, Any]:
        counts.reject(connection, actor, number)
        return documents.count(connection, number)

    return run(engine, work)
