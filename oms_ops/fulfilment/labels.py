"""Book labels with a carrier, keep its answers, show and void labels.

A label is asked for in three parts: the request is written and committed; the carrier is spoken to
with no transaction open; its answer is written. Whoever else books the shipment meanwhile finds the
request. If we stop in between, or the carrier cannot be reached, the request is repeated under the
same reference (:func:`repeat`), which gives the same label.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import FULFIL, ORDERS_READ, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, read_time, reading, rowset, run
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.fulfilment import bookings, label_page
from oms_ops.fulfilment.carriers.interface import Booking, Carrier, Label, Refusal
from oms_ops.fulfilment.carriers.registry import open_carrier
from oms_ops.fulfilment.transitions import refuse_others
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.orders.queries import id_of
from oms_ops.stock.levels import stamp_of

_log = logging.getLogger(__name__)

#: How long a request may be on its way to the carrier before it is repeated.
_PATIENCE = timedelta(minutes=1)
#: Requests repeated in one round.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Printed:
    """A label to print; ``body`` is text, or base64 where the media type is binary."""

    media_type: str
    body: str


def book(
    engine: Engine,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    carrier: str,
    tracking_numbers: Mapping[int, str] | None = None,
    replace: bool = False,
) -> list[dict[str, Any]]:
    """Ask a carrier for the labels of packed shipments; return the labels as far as they are known.

    ``tracking_numbers`` are the ones typed in, by shipment id. ``replace`` makes the labels void
    that the shipments have; their carrier is not told.

    Raises:
        ValidationFailed: the carrier is unknown, or a tracking number is missing or of another
            shipment.
        Conflict: a shipment is not packed or has a label, or its order is not open; each is named.
    """
    actor.require(FULFIL)
    typed = {i: number.strip() for i, number in (tracking_numbers or {}).items()}
    refuse_others(shipment_ids, typed)
    with reading(engine) as connection:
        spoken_to = open_carrier(connection, carrier)
    if spoken_to.needs_tracking_number:
        _require_numbers(shipment_ids, typed)
    asked = run(engine, lambda c: request(c, actor, shipment_ids, carrier, typed, replace=replace))
    _ask(engine, actor, spoken_to, asked)
    with reading(engine) as connection:
        return _newest(connection, shipment_ids)


def request(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    carrier: str,
    tracking_numbers: Mapping[int, str],
    *,
    replace: bool = False,
) -> list[Booking]:
    """Write that labels are asked for; commit it before the carrier hears of it."""
    wanted = sorted(set(shipment_ids))
    lock_orders_of_shipments(connection, wanted)
    stamp = {"ids": as_ids(wanted), **stamp_of(connection, actor)}
    if replace:
        _void(connection, stamp)
    rows = execute(
        connection,
        "INSERT INTO shipment_labels (shipment_id, carrier, booking, status, created_at, version,"
        " changed_by, changed_at)"
        " SELECT s.id, :carrier, :booking, 'requested', :now, 1, :actor, :now FROM shipments AS s"
        " JOIN orders AS o ON o.id = s.order_id AND o.status = 'open'"
        f" WHERE s.id IN ({ids(connection, 'ids')}) AND s.status = 'packed' AND NOT EXISTS ("
        "SELECT 1 FROM shipment_labels AS b WHERE b.shipment_id = s.id AND b.status <> 'void')"
        " ORDER BY s.id RETURNING id, shipment_id",
        {"carrier": carrier, "booking": _booking(), **stamp},
    ).fetchall()
    if len(rows) != len(wanted):
        raise _refused(connection, shipment_ids, {row[1] for row in rows})
    return bookings.of_labels(connection, [row[0] for row in rows], tracking_numbers)


def repeat(engine: Engine, actor: Actor, carrier: str, spoken_to: Carrier) -> int:
    """Ask again for labels of which it is not known whether the carrier heard; return how many."""
    with reading(engine) as connection:
        rows = execute(
            connection,
            "SELECT id FROM shipment_labels WHERE status = 'requested' AND sent_at IS NULL"
            " AND carrier = :carrier AND created_at < :before ORDER BY id LIMIT :limit",
            {
                "carrier": carrier,
                "before": as_time(connection, clock.now() - _PATIENCE),
                "limit": _BATCH,
            },
        ).fetchall()
        asked = bookings.of_labels(connection, [row[0] for row in rows]) if rows else []
    _ask(engine, actor, spoken_to, asked)
    return len(asked)


def _ask(engine: Engine, actor: Actor, spoken_to: Carrier, asked: Sequence[Booking]) -> None:
    """Speak to the carrier, and keep what it answers at once."""
    if not asked:
        return
    try:
        answers = spoken_to.book(asked)
    except Exception:  # noqa: BLE001 - whatever it is, the request stands and is repeated
        _log.exception("%d labels are asked for again in the next round", len(asked))
        return

    def keep(connection: Connection) -> None:
        execute(
            connection,
            "UPDATE shipment_labels SET sent_at = :now, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" WHERE sent_at IS NULL AND id IN ({ids(connection, 'ids')})",
            {
                "ids": as_ids(id_of(b.reference, "LB") for b in asked),
                **stamp_of(connection, actor),
            },
        )
        record(connection, actor, answers)

    run(engine, keep)


def record(
    connection: Connection,
    actor: Actor,
    answers: Sequence[Label | Refusal],
    *,
    carrier: str | None = None,
) -> dict[str, tuple[str, str]]:
    """Keep a carrier's answers; return a code and a sentence for each reference not taken.

    The same answer once more changes nothing. ``carrier`` refuses the references of others.
    """
    rows = {a.reference: _row(a) for a in answers}
    printed = [a.reference for a in answers if isinstance(a, Label) and a.body is None]
    pages = bookings.of_labels(connection, [id_of(r, "LB") for r in printed]) if printed else []
    for page in pages:
        row = rows[page.reference]
        row["kind"] = label_page.MEDIA_TYPE
        row["content"] = label_page.render(page, row["tracking"])
    taken = execute(
        connection,
        "UPDATE shipment_labels AS b SET status = r.becomes, tracking_number = r.tracking,"
        " media_type = r.kind, body = r.content, problem = r.why,"
        " booked_at = CASE WHEN r.becomes = 'booked' THEN :now END,"
        " sent_at = coalesce(b.sent_at, :now), version = b.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _ROW)}) AS r"
        " WHERE b.id = r.label_id AND b.status = 'requested'"
        " AND b.carrier = coalesce(CAST(:carrier AS text), b.carrier) RETURNING number",
        {
            "rows": as_rows(rows.values()),
            "carrier": carrier,
            **stamp_of(connection, actor),
        },
    ).fetchall()
    left = rows.keys() - {row[0] for row in taken}
    return _not_taken(connection, {r: rows[r] for r in left}, carrier) if left else {}


_ROW = {
    "label_id": "bigint",
    "becomes": "text",
    "tracking": "text",
    "kind": "text",
    "content": "text",
    "why": "text",
}


def _row(answer: Label | Refusal) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_ROW) | {"label_id": id_of(answer.reference, "LB")}
    if isinstance(answer, Refusal):
        return row | {"becomes": "void", "why": answer.problem}
    return row | {
        "becomes": "booked",
        "tracking": answer.tracking_number,
        "kind": answer.media_type,
        "content": answer.body,
    }


def _not_taken(
    connection: Connection, rows: Mapping[str, dict[str, Any]], carrier: str | None
) -> dict[str, tuple[str, str]]:
    """Say why answers changed nothing; those that were taken before need no reason."""
    found = {
        row[0]: row[1:]
        for row in execute(
            connection,
            "SELECT number, carrier, status, coalesce(tracking_number, problem)"
            f" FROM shipment_labels WHERE id IN ({ids(connection, 'ids')})",
            {"ids": as_ids(row["label_id"] for row in rows.values())},
        )
    }
    reasons = {}
    for reference, row in rows.items():
        known, status, what = found.get(reference, (None, None, None))
        if known is None or known != (carrier or known):
            reasons[reference] = ("unknown_reference", f"no label {reference} was asked for")
        elif (status, what) != (row["becomes"], row["tracking"] or row["why"]):
            reasons[reference] = (f"label_{status}", f"{reference} is {status} already: {what}")
    return reasons


def void(connection: Connection, actor: Actor, shipment_id: int) -> None:
    """Make the label of a packed shipment void; the carrier is not told.

    Raises:
        NotFound: it has none that could be.
    """
    actor.require(FULFIL)
    lock_orders_of_shipments(connection, [shipment_id])
    if not _void(connection, {"ids": as_ids([shipment_id]), **stamp_of(connection, actor)}):
        raise NotFound(f"Shipment {shipment_id} is not packed or has no label.")


def _void(connection: Connection, parameters: dict[str, Any]) -> int:
    voided: int = execute(
        connection,
        "UPDATE shipment_labels SET status = 'void', version = version + 1, changed_by = :actor,"
        " changed_at = :now WHERE status <> 'void' AND shipment_id IN ("
        "SELECT s.id FROM shipments AS s WHERE s.status = 'packed'"
        f" AND s.id IN ({ids(connection, 'ids')}))",
        parameters,
    ).rowcount
    return voided


def listing(
    connection: Connection, actor: Actor, shipment_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the newest label of each shipment that ever had one."""
    actor.require(ORDERS_READ)
    return _newest(connection, shipment_ids)


def _newest(connection: Connection, shipment_ids: Sequence[int]) -> list[dict[str, Any]]:
    rows = connection.execute(
        sa.text(
            "SELECT b.shipment_id, s.number AS shipment, b.number AS reference, b.carrier,"
            " b.status, b.tracking_number, b.media_type, b.problem, b.created_at, b.sent_at,"
            " b.booked_at FROM shipment_labels AS b JOIN shipments AS s ON s.id = b.shipment_id"
            " WHERE b.id IN (SELECT max(id) FROM shipment_labels WHERE shipment_id IN"
            f" ({ids(connection, 'ids')}) GROUP BY shipment_id) ORDER BY b.shipment_id"
        ),
        {"ids": as_ids(shipment_ids)},
    ).mappings()
    shown = []
    for row in rows:
        label = dict(row)
        for name in ("created_at", "sent_at", "booked_at"):
            moment = read_time(label[name])
            label[name] = moment.isoformat() if moment else None
        shown.append(label)
    return shown


def printed(connection: Connection, actor: Actor, shipment_id: int) -> Printed:
    """Return the label of a shipment.

    Raises:
        NotFound: it has none.
        Conflict: the carrier has not answered yet.
    """
    actor.require(ORDERS_READ)
    row = execute(
        connection,
        "SELECT number, status, media_type, body FROM shipment_labels"
        " WHERE shipment_id = :id AND status <> 'void'",
        {"id": shipment_id},
    ).fetchone()
    if row is None:
        raise NotFound(f"Shipment {shipment_id} has no label.")
    number, status, media_type, body = row
    if status != "booked":
        raise Conflict(f"The carrier has not answered for {number} yet.")
    return Printed(media_type, body)


def _booking() -> str:
    """Return a name for the labels asked for together; it names the manifest's file, too."""
    return f"{clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _require_numbers(shipment_ids: Sequence[int], typed: Mapping[int, str]) -> None:
    faults = [
        FieldError(f"tracking_numbers.{i}", "required", "type in the carrier's number")
        for i in shipment_ids
        if not typed.get(i)
    ]
    if faults:
        raise ValidationFailed("The labels have bad fields.", faults)


def _refused(connection: Connection, wanted: Sequence[int], taken: set[int]) -> Conflict:
    rows = execute(
        connection,
        "SELECT s.id, s.number, s.status, o.number, o.status FROM shipments AS s"
        f" JOIN orders AS o ON o.id = s.order_id WHERE s.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(wanted)},
    )
    found = {row[0]: row[1:] for row in rows}
    faults = []
    for index, shipment_id in enumerate(wanted):
        if shipment_id in taken:
            continue
        number, status, order, order_status = found.get(shipment_id, (None, None, None, None))
        if number is None:
            fault = ("unknown_shipment", f"no shipment {shipment_id}")
        elif order_status != "open":
            fault = ("order_not_open", f"{order} is {order_status}")
        elif status != "packed":
            fault = ("wrong_status", f"{number} is {status}, not packed")
        else:
            fault = ("already_labelled", f"{number} has a label")
        faults.append(FieldError(f"shipment_ids[{index}]", *fault))
    return Conflict("A label is for a packed shipment that has none.", faults)
