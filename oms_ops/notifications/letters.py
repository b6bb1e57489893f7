"""What each kind of message says: the subject and the text of its e-mail, from its payload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a letter."""

    name: str
    media_type: str
    body: str


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail before it has an address."""

    subject: str
    text: str
    reply_to: str | None = None
    attachments: tuple[Attachment, ...] = field(default=())


#: kind -> subject, text. What a payload does not hold is left out with its line. ``{expected}``
#: says what is known of the day ``promised_on``; a list of what waits for stock follows the text.
_TEXTS: dict[str, tuple[str, str]] = {
    "order.confirmed": (
        "Your order {order}",
        "Thank you for your order {order}.\nIt comes to {total} {currency}.",
    ),
    "order.amended": (
        "Your order {order} was changed",
        "We changed your order {order} as you asked.\nIt comes to {total} {currency}.",
    ),
    "order.cancelled": (
        "Your order {order} was cancelled",
        "Your order {order} was cancelled: {reason}.\nWhat you paid for it goes back to you.",
    ),
    "order.units_cancelled": (
        "A part of your order {order} was cancelled",
        "A part of your order {order} was cancelled: {reason}.\n"
        "It now comes to {total} {currency}.",
    ),
    "order.backordered": (
        "A part of your order {order} comes later",
        "A part of your order {order} is not in stock: {reason}.\nIt {expected}.",
    ),
    "order.backorder_filled": (
        "What your order {order} waited for is here",
        "What your order {order} waited for has arrived and is on its way to you soon.",
    ),
    "order.promise_changed": (
        "News of your order {order}",
        "What your order {order} waits for {expected}.\nWe had told you {was_promised_on}.",
    ),
    "shipment.shipped": (
        "Your order {order} is on its way",
        "Parcel {shipment} of your order {order} has left.\nCarrier: {carrier}\n"
        "Tracking number: {tracking_number}",
    ),
    "shipment.delivered": (
        "Your order {order} was delivered",
        "Parcel {shipment} of your order {order} was delivered.",
    ),
    "shipment.delivery_failed": (
        "Your parcel could not be delivered",
        "Parcel {shipment} of your order {order} could not be delivered: {reason}.\n"
        "It is tried again, or comes back to us.",
    ),
    "shipment.out_again": (
        "Your parcel is on its way again",
        "Parcel {shipment} of your order {order} is on its way again.",
    ),
    "shipment.returned": (
        "Your parcel came back to us",
        "Parcel {shipment} of your order {order} came back to us. We will write to you.",
    ),
    "payment.refunded": (
        "{amount} {currency} go back to you",
        "We have sent {amount} {currency} of your order {order} back to where you paid from.\n"
        "The reason: {reason}.\n"
        "Until it is on your account, your bank may take some days.",
    ),
    "payment.credited": (
        "{amount} {currency} of store credit for you",
        "{amount} {currency} of your order {order} are now store credit of yours.\n"
        "The reason: {reason}.\nYou can pay your next order with it.",
    ),
    "credit.issued": (
        "{amount} {currency} of store credit for you",
        "You have {amount} {currency} of new store credit with us.\nThe reason: {reason}.\n"
        "You can pay your next order with it.",
    ),
    "return.approved": (
        "Your return {return} of order {order}",
        "You may send us the goods of your return {return} of order {order}.\n"
        "Please write {return} on the parcel, and send it to {address}.\n"
        "We expect it by {until}.",
    ),
    "return.refused": (
        "Your return {return} of order {order}",
        "We cannot take back the goods of your return {return} of order {order}: {reason}.",
    ),
    "return.received": (
        "The goods of your return {return} are here",
        "The goods of your return {return} of order {order} have arrived.\n"
        "We look at them, and write to you again.",
    ),
    "return.refunded": (
        "Your return {return} is settled",
        "For your return {return} of order {order}, {amount} {currency} go back {where}.",
    ),
    "return.exchanged": (
        "Your exchange for return {return}",
        "For what you sent back of order {order}, you get a new order: {replacement}.",
    ),
    "ticket.opened": (
        "{ticket}: {about}",
        "We have your question {ticket}: {about}.\nYou have our answer by {answer_by}.",
    ),
    "ticket.replied": (
        "{ticket}: {about}",
        "Here is our answer to your question {ticket}: {about}.\n{reply}\n"
        "On the page of your order {order} you can write back.",
    ),
    "ticket.solved": (
        "{ticket} is solved: {about}",
        "We think that your question {ticket} is solved: {about}.\n{reply}\n"
        "On the page of your order {order} you can say how we did, or that it is not solved.",
    ),
}


def compose(kind: str, payload: Mapping[str, Any], link: str | None = None) -> Letter:
    """Return the letter of a message; ``link`` is where the customer follows the order.

    A payload with a ``subject`` and a ``text`` of its own is sent as it is; a kind that nobody
    wrote a text for is sent with all that it holds.
    """
    if "subject" in payload and "text" in payload:
        parts = tuple(Attachment(**part) for part in payload.get("attachments") or ())
        return Letter(payload["subject"], payload["text"], payload.get("reply_to"), parts)
    if kind == "stock.low":
        return _low_stock(payload)
    known = {name: value for name, value in payload.items() if value is not None}
    if "promised_on" in payload:
        known["expected"] = _expected(payload["promised_on"])
    if kind not in _TEXTS:
        return Letter(kind, "\n".join(f"{name}: {value}" for name, value in known.items()))
    subject, text = _TEXTS[kind]
    lines = [_filled(line, known) for line in text.splitlines()]
    lines += _waiting(payload.get("waiting") or ())
    if link:
        lines.append(f"Follow it here: {link}")
    return Letter(_filled(subject, known) or kind, "\n".join(filter(None, lines)))


def _expected(day: str | None) -> str:
    if day is None:
        return "has no day yet: we write to you as soon as it has one"
    return f"is now expected on {day}"


def _waiting(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return what a customer still waits for, and until when."""
    if lines:
        yield "This is not in stock yet and follows later:"
    for line in lines:
        day = line["promised_on"]
        when = f"expected on {day}" if day else "no day yet: we write to you as soon as it has one"
        yield f"- {line['quantity']} x {line['name']} ({line['sku']}), {when}"


def _filled(line: str, known: Mapping[str, Any]) -> str | None:
    try:
        return line.format_map(known)
    except KeyError:
        return None


def _low_stock(payload: Mapping[str, Any]) -> Letter:
    levels = payload.get("levels") or []
    lines = [
        f"{each['sku']} in {each['warehouse']}: {each['available']} available,"
        f" the threshold is {each['threshold']}"
        for each in levels
    ]
    named = ", ".join(dict.fromkeys(str(each["sku"]) for each in levels[:3]))
    more = f" and {len(levels) - 3} more" if len(levels) > 3 else ""
    return Letter(f"Low stock: {named}{more}", "\n".join(lines))
