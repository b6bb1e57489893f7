"""Routes of the fulfilment: a shipment's next step, its label, and what a scanner reads."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, Field
from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.api.parts import MOST_LINES, Caller, Database, Key, ShipmentIds, callers_words
from oms_ops.database import run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment import commands, delivery, labels, packing, scan
from oms_ops.fulfilment.carriers.entries import TEXT_TYPES
from oms_ops.fulfilment.delivery import Failed
from oms_ops.fulfilment.packing import Packed
from oms_ops.fulfilment.scan import Scan
from oms_ops.orders import queries
from oms_ops.shapes import Body, Note

router = APIRouter(tags=["fulfilment"])

StepName = Literal["pick", "pack", "ship", "deliver", "fail", "retry", "return"]
ShortText = Annotated[str, Field(max_length=200)]

#: How a route of one shipment calls what the services take in sets.
_ONE = {r"^shipment_ids\[0\]$": "shipment_id", r"^tracking_numbers\.\d+$": "tracking_number"}


class ParcelBody(Body):
    """A parcel: units by SKU code or barcode, and its weight if known."""

    contents: Annotated[dict[str, int], Field(max_length=MOST_LINES)]
    weight_grams: int | None = None


class StepBody(Body):
    """What a step may say: ship its carrier, fail its reason, what is heard of parcels its moment.

    Without carrier and tracking number, shipping takes those of the label. With ``parcels``,
    packing checks that they hold what is to be sent. What is not the step's to say is refused.
    """

    parcels: Annotated[list[ParcelBody], Field(max_length=100)] | None = None

    carrier: ShortText | None = None
    tracking_number: ShortText | None = None
    reason: Note = ""
    at: AwareDatetime | None = None


class StepsBody(Body):
    """A step of many shipments at once: all of them take it, or none."""

    shipment_ids: ShipmentIds
    carrier: ShortText | None = None
    tracking_numbers: dict[int, ShortText] = Field(default_factory=dict)
    reason: Note = ""
    at: AwareDatetime | None = None


class LabelBody(Body):
    """Whom to book a label with; ``replace`` makes the present label void."""

    carrier: str = "manual"
    tracking_number: ShortText | None = None
    replace: bool = False


class LabelsBody(Body):
    """The labels of many shipments, booked together."""

    shipment_ids: ShipmentIds
    carrier: str = "manual"
    tracking_numbers: dict[int, ShortText] = Field(default_factory=dict)
    replace: bool = False


class ScanBody(Body):
    """A barcode, and where and to what end it was scanned."""

    code: str
    warehouse: str | None = None
    kind: str | None = None
    wave: str | None = None
    step: str | None = None
    advance: bool = False


@router.post("/scan")
def read_code(engine: Database, actor: Caller, body: ScanBody) -> dict[str, Any]:
    """Say what a barcode is, its state and the next step; with ``advance``, take that step."""
    return scan.scan(engine, actor, Scan(**body.model_dump()))


@router.post("/shipments/label", status_code=202)
def book_labels(engine: Database, actor: Caller, body: LabelsBody) -> dict[str, Any]:
    """Book labels; a carrier may answer later, until then a label is ``requested``."""
    booked = labels.book(
        engine,
        actor,
        body.shipment_ids,
        carrier=body.carrier,
        tracking_numbers=body.tracking_numbers,
        replace=body.replace,
    )
    return {"data": booked}


@router.post("/shipments/{shipment_id}/label", status_code=202)
def book_label(
    engine: Database, actor: Caller, shipment_id: Key, body: LabelBody
) -> dict[str, Any]:
    """Book a label; a carrier may answer later, until then it is ``requested``."""
    typed = {shipment_id: body.tracking_number} if body.tracking_number else {}
    with callers_words(_ONE):
        (booked,) = labels.book(
            engine,
            actor,
            [shipment_id],
            carrier=body.carrier,
            tracking_numbers=typed,
            replace=body.replace,
        )
    return booked


@router.get("/shipments/{shipment_id}/label", response_class=Response)
def print_label(engine: Database, actor: Caller, shipment_id: Key) -> Response:
    """Return the label as the carrier made it, or as we print it."""
    with engine.connect() as connection:
        label = labels.printed(connection, actor, shipment_id)
    text = label.media_type in TEXT_TYPES
    body = label.body.encode() if text else base64.b64decode(label.body)
    # Whatever a carrier sent, a browser runs nothing of it.
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
    return Response(body, media_type=label.media_type, headers=headers)


@router.delete("/shipments/{shipment_id}/label", status_code=204)
def void_label(engine: Database, actor: Caller, shipment_id: Key) -> None:
    """Make the label of a packed shipment void; the carrier is not told."""
    run(engine, lambda connection: labels.void(connection, actor, shipment_id))


@router.post("/shipments/{step}")
def advance_many(
    engine: Database, actor: Caller, step: StepName, body: StepsBody
) -> dict[str, Any]:
    """Take a set of shipments one step along: all of them or none."""
    _refuse_unused(actor, step, body)

    def work(connection: Connection) -> dict[str, Any]:
        _STEPS[step](connection, actor, body)
        return {"data": queries.shipments_by_id(connection, body.shipment_ids)}

    return run(engine, work)


@router.post("/shipments/{shipment_id}/{step}")
def advance(
    engine: Database,
    actor: Caller,
    shipment_id: Key,
    step: StepName,
    body: StepBody | None = None,
) -> dict[str, Any]:
    """Pick, pack, ship or deliver a shipment; or tell that it failed, is out again or came back."""
    said = body or StepBody()
    _refuse_unused(actor, step, said)
    typed = {shipment_id: said.tracking_number} if said.tracking_number else {}
    known = said.model_dump(exclude={"tracking_number", "parcels"})
    steps = StepsBody(shipment_ids=[shipment_id], tracking_numbers=typed, **known)

    def work(connection: Connection) -> dict[str, Any]:
        queries.named_shipment(connection, actor, FULFIL, shipment_id)
        if step == "pack" and said.parcels is not None:
            parcels = [Packed(each.contents, each.weight_grams) for each in said.parcels]
            packing.pack_checked(connection, actor, shipment_id, parcels)
        else:
            _STEPS[step](connection, actor, steps)
        return queries.shipments_by_id(connection, [shipment_id])[0]

    with callers_words(_ONE):
        return run(engine, work)


#: What each step can be told.
_SAYS: dict[str, tuple[str, ...]] = {
    "pick": (),
    "pack": ("parcels",),
    "ship": ("carrier", "tracking_number", "tracking_numbers"),
    "deliver": ("at",),
    "fail": ("reason", "at"),
    "retry": (),
    "return": ("at",),
}


def _refuse_unused(actor: Actor, step: str, body: StepBody | StepsBody) -> None:
    """Refuse what a step would leave out in silence; an empty field says nothing."""
    actor.require(FULFIL)
    faults = [
        FieldError(name, "unknown_field", f"has no meaning for {step}")
        for name in type(body).model_fields
        if name not in ("shipment_ids", *_SAYS[step]) and _says(getattr(body, name))
    ]
    if faults:
        raise ValidationFailed("The step has bad fields.", faults)


def _says(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _moments(body: StepsBody) -> dict[int, datetime]:
    return dict.fromkeys(body.shipment_ids, body.at) if body.at else {}


def _ship(connection: Connection, actor: Actor, body: StepsBody) -> None:
    commands.ship(
        connection,
        actor,
        body.shipment_ids,
        carrier=body.carrier,
        tracking_numbers=body.tracking_numbers,
    )


def _fail(connection: Connection, actor: Actor, body: StepsBody) -> None:
    failures = [Failed(i, body.reason, body.at) for i in body.shipment_ids]
    delivery.fail(connection, actor, failures)


def _plain(
    command: Callable[[Connection, Actor, Sequence[int]], object],
) -> Callable[[Connection, Actor, StepsBody], object]:
    return lambda connection, actor, body: command(connection, actor, body.shipment_ids)


_STEPS: dict[str, Callable[[Connection, Actor, StepsBody], object]] = {
    "pick": _plain(commands.pick),
    "pack": _plain(commands.pack),
    "ship": _ship,
    "deliver": lambda c, actor, body: delivery.deliver(
        c, actor, body.shipment_ids, moments=_moments(body)
    ),
    "fail": _fail,
    "retry": _plain(delivery.retry),
    "return": lambda c, actor, body: delivery.bring_back(
        c, actor, body.shipment_ids, moments=_moments(body)
    ),
}
