"""Reads transfers and counts as their callers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.database import read_time
from oms_ops.errors import NotFound
from oms_ops.stock import counts, transfers

_TRANSFER = (
    "SELECT t.id, t.number, t.status, f.code AS from_warehouse, w.code AS to_warehouse, t.reason,"
    " t.created_at, t.expected_on, t.sent_at, t.received_at, t.changed_by FROM transfers AS t"
    " JOIN warehouses AS f ON f.id = t.from_warehouse_id"
    " JOIN warehouses AS w ON w.id = t.to_warehouse_id"
)
_COUNT = (
    "SELECT t.id, t.number, t.status, w.code AS warehouse, t.reason, t.created_at, t.created_by,"
    " t.counted_at, t.decided_at, t.decided_by FROM stock_counts AS t"
    " JOIN warehouses AS w ON w.id = t.warehouse_id"
)


def number_of(prefix: str, given: str) -> str:
    """Return the number of a document that is asked for by its number or its id."""
    return f"{prefix}-{10_000_000 + int(given)}" if given.isdecimal() and len(given) < 8 else given


def list_transfers(
    connection: Connection,
    actor: Actor,
    *,
    status: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of transfers, newest first, and the cursor of the next page."""
    actor.require(STOCK_READ)
    return _page(connection, _TRANSFER, status, after, limit)


def get_transfer(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return a transfer with its lines.

    Raises:
        NotFound: there is no such transfer.
    """
    actor.require(STOCK_READ)
    return transfer(connection, number)


def transfer(connection: Connection, number: str) -> dict[str, Any]:
    """Return what :func:`get_transfer` does, to answer for a change of it."""
    head = _one(connection, _TRANSFER, number, "transfer")
    names = ("line_no", "sku", "name", "quantity", "sent", "received", "lost")
    lines = transfers.lines_of(connection, head["id"]).values()
    shown = [
        {
            **{name: getattr(line, name) for name in names},
            "in_transit": line.sent - line.received - line.lost,
        }
        for line in lines
    ]
    return {**head, "lines": shown}


def list_counts(
    connection: Connection,
    actor: Actor,
    *,
    status: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of counts, newest first, and the cursor of the next page."""
    actor.require(STOCK_READ)
    return _page(connection, _COUNT, status, after, limit)


def get_count(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return a count with its lines.

    Raises:
        NotFound: there is no such count.
    """
    actor.require(STOCK_READ)
    return count(connection, number)


def count(connection: Connection, number: str) -> dict[str, Any]:
    """Return what :func:`get_count` does, to answer for a change of it."""
    head = _one(connection, _COUNT, number, "count")
    lines = counts.lines(connection, head["id"])
    hidden = {"location_id", "sku_id"}
    shown = [{key: line[key] for key in line if key not in hidden} for line in lines]
    return {**head, "lines": shown}


def _page(
    connection: Connection, query: str, status: str | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    rows = connection.execute(
        sa.text(
            f"{query} WHERE (:after = 0 OR t.id < :after)"
            " AND (CAST(:status AS text) IS NULL OR t.status = :status)"
            " ORDER BY t.id DESC LIMIT :limit"
        ),
        {"after": after, "status": status, "limit": limit + 1},
    ).mappings()
    found = [_read(row) for row in rows]
    page = found[:limit]
    return page, page[-1]["id"] if len(found) > limit else None


def _one(connection: Connection, query: str, number: str, noun: str) -> dict[str, Any]:
    row = (
        connection.execute(sa.text(f"{query} WHERE t.number = :number"), {"number": number})
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no {noun} {number}.")
    return _read(row)


def _read(row: Any) -> dict[str, Any]:
    """Turn the times of a row into ISO text; a date is its text already on SQLite."""
    shown = dict(row)
    for key, value in row.items():
        if key.endswith("_at"):
            moment: datetime | None = read_time(value)
            shown[key] = moment.isoformat() if moment else None
        elif key.endswith("_on"):
            shown[key] = str(value) if value is not None else None
    return shown
