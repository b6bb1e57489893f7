"""A barcode in, the next step out: what was scanned, its state, and the request to send next.

Numbers lead to their rows by the id in them, the other codes by their indexes: one statement finds
what a code is, one or two more say what is next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import execute, reading, run
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.fulfilment import back, commands, labels, next_step, picking
from oms_ops.fulfilment.next_step import Next
from oms_ops.fulfilment.picks import stopped
from oms_ops.orders.queries import id_of
from oms_ops.stock import bins, floor, putaway

#: The steps that a scan may name as the one to take.
STEPS = ("pick", "walk", "pack", "label", "ship", "deliver", "retry", "receive", "putaway")
#: What a code may be, in the order in which it is tried.
KINDS = ("shipment", "order", "wave", "return", "sku", "bin", "tracking")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scanner sends.

    ``warehouse`` is where it stands, ``kind`` what the code is where it could be several things,
    ``wave`` the number of the wave that is walked. ``advance`` takes the next step if that needs
    nothing more, and if it is ``step``, where that is given: so a label that is scanned twice at
    the packing table is not shipped.
    """

    code: str
    warehouse: str | None = None
    kind: str | None = None
    wave: str | None = None
    step: str | None = None
    advance: bool = False


@dataclass(frozen=True, slots=True)
class _Hit:
    kind: str
    id: int
    name: str
    warehouse: str | None


@dataclass(slots=True)
class _Seen:
    """What a scan found; ``act`` takes the next step, where a scan alone says enough to do it."""

    answer: dict[str, Any]
    next: Next | None = None
    act: Callable[[Connection], object] | None = None
    #: The shipment whose label is next.
    unlabelled: int | None = None

    def shown(self, *, advanced: str | None = None) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        following = self.next.shown() if self.next else None
        return {**self.answer, "next": following, "advanced": advanced}


def scan(engine: Engine, actor: Actor, scanned: Scan) -> dict[str, Any]:
    """Say what a code is and what is next; with ``advance``, take that step.

    The answer has ``code``, ``kind``, what is known under the name of the kind, ``blocked`` (why
    nothing can be done now), ``next`` and ``advanced`` (the step that was taken).

    Raises:
        NotFound: the code is nothing that is known; the error lists what was tried.
        Conflict: it is several things, or of another warehouse, or the step is not the next one.
    """
    actor.require(FULFIL)
    if not scanned.advance:
        with reading(engine) as connection:
            return _look(connection, actor, scanned).shown()

    def work(connection: Connection) -> tuple[_Seen, str | None]:
        seen = _look(connection, actor, scanned)
        _expect(scanned, seen)
        if seen.act is None or seen.next is None:
            return seen, None
        seen.act(connection)
        return _look(connection, actor, scanned), seen.next.step

    seen, taken = run(engine, work)
    if taken is not None or seen.unlabelled is None or seen.next is None:
        return seen.shown(advanced=taken)
    # A carrier is spoken to with no transaction open.
    labels.book(engine, actor, [seen.unlabelled], carrier=seen.next.body["carrier"])
    with reading(engine) as connection:
        return _look(connection, actor, scanned).shown(advanced="label")


#: What a scan may do with the parcel in one's hand; that one arrived, it does not say.
_ACTS: dict[str, Callable[[Connection, Actor, Sequence[int]], object]] = {
    "pick": commands.pick,
    "pack": commands.pack,
    "ship": commands.ship,
}


def _ready(answer: dict[str, Any], actor: Actor, shipment_id: int, following: Next | None) -> _Seen:
    """Return what was found of one shipment, ready to take its next step."""
    seen = _Seen(answer, following)
    if following is None or following.needs:
        return seen
    if following.step == "label":
        seen.unlabelled = shipment_id
    elif (command := _ACTS.get(following.step)) is not None:
        seen.act = lambda connection: command(connection, actor, [shipment_id])
    return seen


def _expect(scanned: Scan, seen: _Seen) -> None:
    following = seen.next.step if seen.next else None
    if scanned.step is not None and scanned.step != following:
        message = seen.answer["blocked"] or f"next is {following or 'nothing'}"
        raise Conflict(
            f"{scanned.code} is not to {scanned.step} now: {message}.",
            [FieldError("step", "wrong_step", message)],
        )


def _check(connection: Connection, scanned: Scan) -> None:
    """Refuse what cannot be scanned, and a kind, a step, a warehouse or a wave that is none."""
    faults = []
    if not scanned.code.strip() or len(scanned.code) > _LONGEST or "\0" in scanned.code:
        faults.append(FieldError("code", "not_a_code", f"1 to {_LONGEST} characters"))
    if scanned.kind is not None and scanned.kind not in KINDS:
        faults.append(FieldError("kind", "unknown_kind", f"one of {', '.join(KINDS)}"))
    if scanned.step is not None and scanned.step not in STEPS:
        faults.append(FieldError("step", "unknown_step", f"one of {', '.join(STEPS)}"))
    faults += _place_faults(connection, scanned)
    if faults:
        raise ValidationFailed("The scan has bad fields.", faults)


def _place_faults(connection: Connection, scanned: Scan) -> list[FieldError]:
    if scanned.warehouse is None and scanned.wave is None:
        return []
    wave_id = id_of(scanned.wave.strip().upper(), "WV") if scanned.wave is not None else None
    warehouse, wave = execute(
        connection,
        "SELECT (SELECT id FROM warehouses WHERE code = :warehouse),"
        " (SELECT id FROM pick_waves WHERE id = :wave)",
        {"warehouse": scanned.warehouse, "wave": wave_id},
    ).fetchone()
    faults = []
    if scanned.warehouse is not None and warehouse is None:
        message = f"no warehouse {scanned.warehouse!r}"
        faults.append(FieldError("warehouse", "unknown_warehouse", message))
    if scanned.wave is not None and wave is None:
        faults.append(FieldError("wave", "unknown_wave", f"no wave {scanned.wave!r}"))
    return faults


def _look(connection: Connection, actor: Actor, scanned: Scan) -> _Seen:
    _check(connection, scanned)
    hit = _only(scanned, _find(connection, scanned))
    seen = _LOOKS[hit.kind](connection, actor, scanned, hit)
    seen.answer = {"code": scanned.code, "kind": hit.kind, "blocked": None, **seen.answer}
    return seen


def _find(connection: Connection, scanned: Scan) -> list[_Hit]:
    code = scanned.code.strip()
    rows = execute(
        connection,
        "SELECT 'shipment', s.id, s.number, w.code FROM shipments AS s"
        " JOIN warehouses AS w ON w.id = s.warehouse_id WHERE s.id = :shipment"
        " UNION ALL SELECT 'order', id, number, NULL FROM orders WHERE id = :order"
        " UNION ALL SELECT 'wave', v.id, v.number, w.code FROM pick_waves AS v"
        " JOIN warehouses AS w ON w.id = v.warehouse_id WHERE v.id = :wave"
        " UNION ALL SELECT 'return', r.id, r.number, w.code FROM returns AS r"
        " JOIN warehouses AS w ON w.id = r.warehouse_id WHERE r.id = :return"
        " UNION ALL SELECT 'sku', id, code, NULL FROM skus WHERE code = :code"
        " UNION ALL SELECT 'sku', id, code, NULL FROM skus WHERE barcode = :code AND code <> :code"
        " UNION ALL SELECT 'bin', p.id, p.code, w.code FROM locations AS p"
        " JOIN warehouses AS w ON w.id = p.warehouse_id WHERE p.code = :code"
        " UNION ALL SELECT 'tracking', s.id, s.number, w.code FROM shipments AS s"
        " JOIN warehouses AS w ON w.id = s.warehouse_id WHERE s.tracking_number = :code"
        " UNION ALL SELECT 'tracking', s.id, s.number, w.code FROM shipment_labels AS b"
        " JOIN shipments AS s ON s.id = b.shipment_id AND s.tracking_number IS NULL"
        " JOIN warehouses AS w ON w.id = s.warehouse_id"
        " WHERE b.tracking_number = :code AND b.status = 'booked' LIMIT 20",
        {
            "code": code,
            "shipment": id_of(code.upper(), "SH"),
            "order": id_of(code.upper(), "SO"),
            "wave": id_of(code.upper(), "WV"),
            "return": id_of(code.upper(), "RM"),
        },
    )
    return [_Hit(*row) for row in rows]


def _only(scanned: Scan, hits: list[_Hit]) -> _Hit:
    """Return the one thing that the code is."""
    chosen = [hit for hit in hits if scanned.kind in (None, hit.kind)]
    here = [
        hit for hit in chosen if scanned.warehouse in (None, hit.warehouse or scanned.warehouse)
    ]
    if len(here) == 1:
        return here[0]
    code = scanned.code.strip()
    if not chosen:
        tried = (scanned.kind,) if scanned.kind else KINDS
        faults = [FieldError("code", f"no_{kind}", f"is no {_WORDS[kind]}") for kind in tried]
        raise NotFound(f"{code!r} is nothing that is known.", faults)
    found = here or chosen
    faults = [
        FieldError("code", hit.kind, f"{_WORDS[hit.kind]} {hit.name}"
                   + (f" of {hit.warehouse}" if hit.warehouse else ""))
        for hit in found
    ]  # fmt: skip
    if not here:
        raise Conflict(f"{code!r} is of another warehouse than {scanned.warehouse}.", faults)
    raise Conflict(f"{code!r} is {len(found)} things; say which by its kind or number.", faults)


_WORDS = {
    "shipment": "shipment number",
    "order": "order number",
    "wave": "wave number",
    "return": "return number",
    "sku": "SKU code or barcode",
    "bin": "bin code",
    "tracking": "tracking number",
}


def _shipment(connection: Connection, actor: Actor, _: Scan, hit: _Hit) -> _Seen:
    (shipment,) = next_step.situations(connection, shipment_ids=[hit.id])
    following, obstacle = next_step.after(connection, shipment)
    answer = {"shipment": shipment.shown(), "blocked": obstacle}
    return _ready(answer, actor, shipment.id, following)


def _order(connection: Connection, actor: Actor, scanned: Scan, hit: _Hit) -> _Seen:
    """Show an order's shipments; what is next is that of the one of which anything is next here."""
    shipments = next_step.situations(connection, order_id=hit.id)
    here = [s for s in shipments if scanned.warehouse in (None, s.warehouse)]
    steps = [(s.id, *next_step.after(connection, s)) for s in here]
    inside = [(i, step) for i, step, _ in steps if step and step.step in (*_ACTS, "label")]
    ready = inside or [(i, step) for i, step, _ in steps if step]
    obstacle = next((why for _, _, why in steps if why), None) if not ready else None
    answer = {
        "order": {"number": hit.name, "shipments": [s.shown() for s in shipments]},
        "blocked": obstacle if shipments else "nothing of it is allocated",
    }
    if not ready:
        return _Seen(answer)
    subject, following = ready[0]
    if len(ready) > 1:
        # Which of the parcels is in the hand is not known.
        following = replace(following, needs=("shipment", *following.needs))
    return _ready(answer, actor, subject, following)


def _wave(connection: Connection, _: Actor, __: Scan, hit: _Hit) -> _Seen:
    picks = _open_picks(connection, "v.id = :id", {"id": hit.id})
    row = execute(
        connection, "SELECT status, zone FROM pick_waves WHERE id = :id", {"id": hit.id}
    ).fetchone()
    wave = {
        "number": hit.name, "warehouse": hit.warehouse, "status": row[0], "zone": row[1],
        "open_picks": picks,
    }  # fmt: skip
    return _Seen({"wave": wave, "blocked": _blocked(picks)}, _pick(picks))


def _return(connection: Connection, _: Actor, __: Scan, hit: _Hit) -> _Seen:
    shown, following = back.look(connection, hit.id)
    return _Seen({"return": shown}, following)


def _sku(connection: Connection, actor: Actor, scanned: Scan, hit: _Hit) -> _Seen:
    rows = execute(
        connection,
        "SELECT w.id, w.code, v.on_hand, v.allocated, k.name FROM skus AS k"
        " LEFT JOIN stock_levels AS v ON v.sku_id = k.id"
        " LEFT JOIN warehouses AS w ON w.id = v.warehouse_id WHERE k.id = :id ORDER BY w.code",
        {"id": hit.id},
    ).fetchall()
    levels = [
        {"warehouse": row[1], "on_hand": row[2], "allocated": row[3], "available": row[2] - row[3]}
        for row in rows
        if row[1] is not None and scanned.warehouse in (None, row[1])
    ]
    answer = {"sku": {"code": hit.name, "name": rows[0][4], "levels": levels}}
    if scanned.wave is not None:
        return _walked(connection, actor, scanned.wave, answer)
    if scanned.warehouse is None or not levels:
        return _Seen(answer)
    here = next(row[0] for row in rows if row[1] == scanned.warehouse)
    held = floor.holdings(connection, [(here, hit.id)])[here, hit.id]
    answer["sku"] |= {"in_bins": held.binned, "on_floor": held.loose, "picked": held.staged}
    return _Seen(answer, _putaway(connection, actor, scanned.warehouse, hit.name, held.loose))


def _walked(connection: Connection, actor: Actor, wave: str, answer: dict[str, Any]) -> _Seen:
    """Show the pick of a SKU in a wave; a single unit is taken by the scan of it."""
    walk = _open_picks(connection, "v.id = :id", {"id": id_of(wave.strip().upper(), "WV")})
    mine = [pick for pick in walk if pick["sku"] == answer["sku"]["code"]]
    answer["sku"]["open_picks"] = mine
    following = _pick(mine or walk)
    answer["blocked"] = _blocked(mine or walk)
    if following is None or len(mine) != 1 or mine[0]["quantity"] != 1:
        return _Seen(answer, following)
    pick = mine[0]
    seen = _Seen(answer, replace(following, needs=()))
    seen.act = lambda c: picking.confirm(c, actor, pick["wave"], {pick["id"]: 1})
    return seen


def _bin(connection: Connection, _: Actor, __: Scan, hit: _Hit) -> _Seen:
    (place,) = bins.shown(connection, [hit.id])
    picks = _open_picks(connection, "k.location_id = :id", {"id": hit.id})
    return _Seen({"bin": {**place, "open_picks": picks}, "blocked": _blocked(picks)}, _pick(picks))


_LOOKS: dict[str, Callable[[Connection, Actor, Scan, _Hit], _Seen]] = {
    "shipment": _shipment,
    "order": _order,
    "wave": _wave,
    "return": _return,
    "sku": _sku,
    "bin": _bin,
    "tracking": _shipment,
}


def _open_picks(
    connection: Connection, chosen: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return what is still to be picked, in the order of the walk.

    ``blocked`` says why something is not to be picked now: its order is held.
    """
    rows = execute(
        connection,
        "SELECT k.id, v.number, p.code, u.code, k.quantity, s.number, o.number, o.status,"
        " o.hold_reason FROM picks AS k"
        " JOIN pick_waves AS v ON v.id = k.wave_id AND v.status = 'open'"
        " JOIN locations AS p ON p.id = k.location_id JOIN skus AS u ON u.id = k.sku_id"
        " JOIN shipments AS s ON s.id = k.shipment_id JOIN orders AS o ON o.id = s.order_id"
        f" WHERE {chosen} AND k.picked IS NULL"
        " ORDER BY p.kind = 'storage', coalesce(p.pick_sequence, 2147483647), p.code, k.id"
        " LIMIT 200",
        parameters,
    )
    names = ("id", "wave", "place", "sku", "quantity", "shipment", "blocked")
    return [dict(zip(names, (*row[:6], stopped(*row[6:])), strict=True)) for row in rows]


def _blocked(picks: Sequence[dict[str, Any]]) -> str | None:
    """Return what stands in the way of all the picks there are."""
    return picks[0]["blocked"] if all(pick["blocked"] for pick in picks) and picks else None


def _pick(picks: Sequence[dict[str, Any]]) -> Next | None:
    """Return the first that may be picked as the next step; what was found, the picker says."""
    first = next((pick for pick in picks if pick["blocked"] is None), None)
    if first is None:
        return None
    body = {"picks": {str(first["id"]): first["quantity"]}}
    return Next("pick", f"/v1/waves/{first['wave']}/picks", body, ("picks",))


def _putaway(
    connection: Connection, actor: Actor, warehouse: str, sku: str, loose: int
) -> Next | None:
    """Return the putaway of what lies on the floor."""
    if not loose:
        return None
    page, _ = putaway.suggestions(connection, actor, warehouse, sku=sku)
    bins_of = page[0]["bins"] if page else []
    lines = [{"sku": sku, **place} for place in bins_of]
    if not lines:
        lines = [{"sku": sku, "quantity": loose, "bin": None}]
    needs = () if bins_of else ("lines.bin",)
    body = {"warehouse": warehouse, "lines": lines}
    return Next("putaway", "/v1/stock/putaway", body, needs)
