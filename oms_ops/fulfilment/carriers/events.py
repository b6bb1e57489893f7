"""Take what carriers send: labels for requests, and what became of parcels.

A message is taken in one transaction and put away after it. If it comes again, because we stopped
in between or the carrier sent it twice, it says nothing new: an event that is not younger than what
is known of its shipment changes nothing. A row that cannot be taken does not keep back the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import FULFIL, SYSTEM, Actor
from oms_ops.database import as_ids, as_rows, execute, ids, read_time, reading, rowset, run
from oms_ops.fulfilment import delivery, labels
from oms_ops.fulfilment.carriers.interface import Event, Fault, Label, Message, Refusal
from oms_ops.fulfilment.carriers.registry import carriers, open_carrier
from oms_ops.fulfilment.delivery import Failed, impossible
from oms_ops.fulfilment.transitions import TRANSITIONS
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.orders.queries import id_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Synced:
    """What one round with one carrier did; ``failed`` tells that it broke off."""

    carrier: str
    asked_again: int = 0
    messages: int = 0
    faults: tuple[tuple[str, Fault], ...] = ()
    failed: bool = False


def sync(engine: Engine, only: str | None = None, *, by: Actor = SYSTEM) -> list[Synced]:
    """Repeat requests that may be lost, and take what came in, of one carrier or of all.

    A carrier that cannot be reached does not keep the others from their turn. ``by`` asks for it;
    what is written is the carrier's.

    Raises:
        Forbidden: ``by`` may not fulfil.
        ValidationFailed: there is no carrier ``only``.
    """
    by.require(FULFIL)
    with reading(engine) as connection:
        if only:
            open_carrier(connection, only)
        codes = [only] if only else sorted(carriers(connection))
    done = []
    for code in codes:
        try:
            done.append(_sync(engine, code))
        except Exception:  # noqa: BLE001 - whatever it is, the others have their turn
            _log.exception("carrier %s failed; it is tried again in the next round", code)
            done.append(Synced(code, failed=True))
    return done


def actor_of(code: str) -> Actor:
    """Return who stands on what a carrier tells."""
    return Actor(f"carrier:{code}", "warehouse")


def _sync(engine: Engine, code: str) -> Synced:
    with reading(engine) as connection:
        carrier = open_carrier(connection, code)
    again = labels.repeat(engine, actor_of(code), code, carrier)
    messages, faults = 0, []
    for message in carrier.events():
        found = take(engine, code, message)
        carrier.settle(message, found)
        messages += 1
        faults += [(message.name, fault) for fault in found]
    return Synced(code, again, messages, tuple(faults))


def take(engine: Engine, code: str, message: Message) -> list[Fault]:
    """Take all of a message that can be taken; return what cannot, by row."""
    faults = run(engine, lambda connection: apply(connection, code, message))
    return sorted([*message.faults, *faults], key=lambda fault: fault.row)


def apply(connection: Connection, code: str, message: Message) -> list[Fault]:
    """Do what a message says; return the entries that say what cannot be."""
    return _take_labels(connection, code, message) + _take_events(connection, code, message)


def _take_labels(connection: Connection, code: str, message: Message) -> list[Fault]:
    answers: dict[str, Label | Refusal] = {}
    row_of, faults = {}, []
    for row, entry in message.entries.items():
        if isinstance(entry, Event):
            continue
        if entry.reference in answers:
            if answers[entry.reference] != entry:
                faults.append(Fault(row, "duplicate", f"{entry.reference} was answered above"))
            continue
        answers[entry.reference] = entry
        row_of[entry.reference] = row
    if not answers:
        return faults
    refused = labels.record(connection, actor_of(code), list(answers.values()), carrier=code)
    return faults + [Fault(row_of[ref], *reason) for ref, reason in refused.items()]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a shipment; each event that is taken makes a new one."""

    id: int
    number: str
    status: str
    order: str
    order_status: str
    shipped_at: datetime | None
    failed_at: datetime | None
    arrived_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """An event to act upon; ``late`` is a failure heard of after the parcel arrived."""

    shipment_id: int
    event: Event
    late: bool = False


def _take_events(connection: Connection, code: str, message: Message) -> list[Fault]:
    events = {row: e for row, e in message.entries.items() if isinstance(e, Event)}
    if not events:
        return []
    shipment_of, faults = _shipments(connection, code, events)
    lock_orders_of_shipments(connection, set(shipment_of.values()))
    known = _read(connection, set(shipment_of.values()))
    rounds: dict[int, list[_Taken]] = {}
    turns: dict[int, int] = {}
    for row in sorted(shipment_of, key=lambda row: (events[row].at, row)):
        event, shipment_id = events[row], shipment_of[row]
        verdict = _judge(known[shipment_id], event)
        if isinstance(verdict, tuple):
            faults.append(Fault(row, *verdict))
        elif verdict is not None:
            known[shipment_id] = verdict
            late = verdict.status in ("delivered", "returned") and event.kind == "fail"
            turn = turns[shipment_id] = turns.get(shipment_id, 0) + 1
            rounds.setdefault(turn, []).append(_Taken(shipment_id, event, late))
    for turn in sorted(rounds):
        _act(connection, actor_of(code), rounds[turn])
    return faults


def _shipments(
    connection: Connection, code: str, events: dict[int, Event]
) -> tuple[dict[int, int], list[Fault]]:
    """Return the shipment of each row, and the rows whose names lead to none or to several."""
    columns = {"row_no": "bigint", "tracking": "text", "label_id": "bigint", "number_id": "bigint"}
    rows = as_rows(
        {
            "row_no": row,
            "tracking": event.tracking_number,
            "label_id": id_of(event.reference, "LB") if event.reference else None,
            "number_id": id_of(event.shipment, "SH") if event.shipment else None,
        }
        for row, event in events.items()
    )
    given = f"({rowset(connection, 'rows', columns)}) AS r"
    mine = "s.carrier = :carrier"
    found: dict[int, set[int]] = {}
    for row, shipment_id in execute(
        connection,
        f"SELECT r.row_no, s.id FROM {given}"
        f" JOIN shipments AS s ON s.tracking_number = r.tracking AND {mine}"
        f" UNION SELECT r.row_no, s.id FROM {given} JOIN shipment_labels AS b ON b.id = r.label_id"
        f" JOIN shipments AS s ON s.id = b.shipment_id AND {mine}"
        f" UNION SELECT r.row_no, s.id FROM {given}"
        f" JOIN shipments AS s ON s.id = r.number_id AND {mine}",
        {"rows": rows, "carrier": code},
    ):
        found.setdefault(row, set()).add(shipment_id)
    faults = []
    for row, event in events.items():
        names = event.tracking_number or event.reference or event.shipment
        if row not in found:
            faults.append(Fault(row, "unknown_parcel", f"{code} carries no parcel {names}"))
        elif len(found[row]) > 1:
            faults.append(Fault(row, "ambiguous", f"{names} names {len(found[row])} shipments"))
    return {row: next(iter(hits)) for row, hits in found.items() if len(hits) == 1}, faults


def _read(connection: Connection, shipment_ids: set[int]) -> dict[int, _Known]:
    rows = execute(
        connection,
        "SELECT s.id, s.number, s.status, o.number, o.status, s.shipped_at, s.failed_at,"
        " coalesce(s.delivered_at, s.returned_at) FROM shipments AS s"
        f" JOIN orders AS o ON o.id = s.order_id WHERE s.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(shipment_ids)},
    )
    return {row[0]: _Known(*row[:5], *(read_time(at) for at in row[5:])) for row in rows}


def _judge(known: _Known, event: Event) -> _Known | tuple[str, str] | None:
    """Return what is known after an event, None if it is nothing new, or why it cannot be."""
    if fault := impossible(event.at, known.shipped_at):
        return fault
    rule = TRANSITIONS[event.kind]
    if _is_old(known, event):
        return None
    if event.kind == "fail" and known.arrived_at is not None and event.at <= known.arrived_at:
        return replace(known, failed_at=event.at)
    if known.status not in rule.needs:
        return "wrong_status", f"{known.number} is {known.status}, not {' or '.join(rule.needs)}"
    if known.order_status not in rule.order:
        return "order_not_open", f"{known.order} is {known.order_status}"
    return replace(
        known,
        status=rule.leaves,
        failed_at=event.at if event.kind == "fail" else known.failed_at,
        arrived_at=event.at if event.kind in ("deliver", "return") else known.arrived_at,
    )


def _is_old(known: _Known, event: Event) -> bool:
    """Tell whether an event was taken before, or younger ones made it meaningless."""
    if event.kind in ("deliver", "return"):
        return known.status == TRANSITIONS[event.kind].leaves
    if known.failed_at is not None and event.at <= known.failed_at:
        return True
    return event.kind == "retry" and known.status in ("shipped", "delivered", "returned")


def _act(connection: Connection, actor: Actor, taken: Sequence[_Taken]) -> None:
    """Do what events say, a step for all parcels at once."""
    at = {t.shipment_id: t.event.at for t in taken}
    by_kind = {
        kind: [t.shipment_id for t in taken if t.event.kind == kind and not t.late]
        for kind in ("deliver", "retry", "return")
    }
    failed = {
        late: [
            Failed(t.shipment_id, t.event.reason, t.event.at)
            for t in taken
            if t.event.kind == "fail" and t.late == late
        ]
        for late in (False, True)
    }
    for kind, step in (("deliver", delivery.deliver), ("return", delivery.bring_back)):
        moments = {shipment_id: at[shipment_id] for shipment_id in by_kind[kind]}
        step(connection, actor, by_kind[kind], moments=moments)
    delivery.retry(connection, actor, by_kind["retry"])
    delivery.fail(connection, actor, failed[False])
    delivery.note_failures(connection, actor, failed[True])
