"""Shopify's order JSON as one of our submissions, and the check that nothing of its money is lost.

Amounts are taken from Shopify's strings exactly, in the shop's currency. Whatever our order has no
place for (a tip, duties) shows in the total, and an order whose total is not Shopify's is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, ids, reading, run
from oms_ops.errors import Conflict, FieldError, KeyReused, ValidationFailed
from oms_ops.orders import cancellation, queries
from oms_ops.orders.capture import capture
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands as payments

CHANNEL = "shopify"
#: Who makes what Shopify reports; its webhooks are signed, not keyed.
ACTOR = Actor("shopify", "clerk")

#: Words in the name of Shopify's payment gateway that tell how it was paid; else by card.
_METHODS = {
    "cash": "cash",
    "cod": "cash",
    "bank": "bank_transfer",
    "wire": "bank_transfer",
    "invoice": "bank_transfer",
    "gift": "gift_card",
}


def refusal(document: Any) -> FieldError | None:
    """Return why an order is none to capture at all: a test, or cancelled already."""
    if not isinstance(document, dict) or not document.get("id"):
        return FieldError("id", "required", "is no order of Shopify's")
    if document.get("test"):
        return FieldError("test", "test_order", "is a test order")
    if document.get("cancelled_at"):
        return FieldError("cancelled_at", "cancelled", "was cancelled before it was captured")
    return None


def submission(document: dict[str, Any]) -> dict[str, Any]:
    """Return what :func:`oms_ops.orders.capture.capture` takes of an order.

    Raises:
        ValidationFailed: an amount is none, or the parts do not add up to ``total_price``
            (``total_mismatch``). All else that is wrong is found by the capture.
    """
    faults: list[FieldError] = []
    lines = [_line(line, i, faults) for i, line in enumerate(_items(document, "line_items"))]
    shipping, shipping_tax = _shipping(document, faults)
    total = _amount(document.get("total_price"), "total_price", faults)
    included = bool(document.get("taxes_included"))
    if not faults:
        ours = sum(
            (line["unit_price"] * line["quantity"] - line["discount"] for line in lines),
            start=shipping,
        )
        if not included:
            ours += shipping_tax + sum(line["tax"] for line in lines)
        if ours != total:
            message = (
                f"is {total}, its lines, shipping and taxes add up to {ours}{_others(document)}"
            )
            faults.append(FieldError("total_price", "total_mismatch", message))
    if faults:
        raise ValidationFailed("The order's money does not add up.", faults)
    return {
        "external_id": str(document["id"]),
        "channel": CHANNEL,
        "currency": document.get("currency"),
        "customer": _customer(document),
        "ship_to": _address(document),
        "lines": [
            {**line, **{name: str(line[name]) for name in ("unit_price", "discount", "tax")}}
            for line in lines
        ],
        "shipping": str(shipping),
        "shipping_tax": str(shipping_tax),
        "tax_included": included,
        "expected_total": str(total),
        "payment": {"method": _method(document)},
        # It is sold already: what is short waits, and may come from more than one place.
        "allow_backorder": True,
        "allow_split": True,
        "placed_at": document.get("processed_at") or document.get("created_at"),
        **({"note": document["note"]} if document.get("note") else {}),
    }


def take(engine: Engine, document: Any) -> str:
    """Capture an order, and its payment where Shopify collected it; return our number.

    The same order again gives the same number.

    Raises:
        ValidationFailed: with every bad field; also for tests and for what was cancelled before.
        Conflict: the order came before with another content (``differs``).
    """
    if fault := refusal(document):
        raise ValidationFailed("The order is not captured.", [fault])
    key = str(document["id"])
    try:
        answer = capture(
            engine, ACTOR, submission(document), idempotency_key=key, key_scope=CHANNEL
        )
    except KeyReused as error:
        message = "was captured before with another content; it is not changed"
        raise Conflict("The order differs.", [FieldError("id", "differs", message)]) from error
    number = str(answer["number"])
    if document.get("financial_status") == "paid":
        _collect(engine, number)
    return number


def number_of(engine: Engine, document: dict[str, Any]) -> str | None:
    """Return our number of an order that was captured, None where it was not."""
    with reading(engine) as connection:
        found = connection.execute(
            sa.text("SELECT number FROM orders WHERE channel = :channel AND external_id = :id"),
            {"channel": CHANNEL, "id": str(document.get("id"))},
        ).scalar()
    return None if found is None else str(found)


def cancel(engine: Engine, number: str, document: dict[str, Any]) -> None:
    """Cancel an order that Shopify cancelled; one that is cancelled already stays as it is.

    Raises:
        Conflict: it is being picked, or has left: a person has to stop it.
    """

    def work(connection: Any) -> None:
        if queries.get(connection, number)["status"] == "cancelled":
            return
        reason = f"cancelled in Shopify: {document.get('cancel_reason') or 'no reason given'}"
        cancellation.cancel(connection, ACTOR, [queries.order_id(connection, number)], reason)

    run(engine, work)


def _collect(engine: Engine, number: str) -> None:
    """Record that Shopify collected the money; a repeat finds nothing left to collect."""

    def work(connection: Any) -> None:
        # Two deliveries of one order collect one after the other.
        order_ids = list(lock_orders(connection, [queries.order_id(connection, number)]))
        waiting = connection.execute(
            sa.text(
                f"SELECT id FROM payments WHERE order_id IN ({ids(connection, 'orders')})"
                " AND captured_minor = 0 AND voided_minor = 0"
            ),
            {"orders": as_ids(order_ids)},
        ).scalars()
        payments.capture(connection, ACTOR, list(waiting))

    run(engine, work)


def _items(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = document.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _amount(value: Any, field: str, faults: list[FieldError]) -> Decimal:
    try:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise InvalidOperation
        amount = Decimal(value)
        if not amount.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        faults.append(FieldError(field, "not_an_amount", f"{value!r} is no decimal text"))
        return Decimal(0)
    return amount


def _sum(
    owner: dict[str, Any], name: str, key: str, where: str, faults: list[FieldError]
) -> Decimal:
    amounts = [
        _amount(item.get(key), f"{where}.{name}[{i}].{key}", faults)
        for i, item in enumerate(_items(owner, name))
    ]
    return sum(amounts, start=Decimal(0))


def _line(line: dict[str, Any], index: int, faults: list[FieldError]) -> dict[str, Any]:
    where = f"line_items[{index}]"
    quantity = line.get("quantity")
    if not isinstance(quantity, int) or isinstance(quantity, bool):
        faults.append(FieldError(f"{where}.quantity", "not_a_whole_number", "is no whole number"))
        quantity = 0
    return {
        # A line without a SKU is refused by the capture under its own name.
        "sku": line.get("sku") or f"(none: {line.get('title')})",
        "quantity": quantity,
        "unit_price": _amount(line.get("price"), f"{where}.price", faults),
        "discount": _sum(line, "discount_allocations", "amount", where, faults),
        "tax": _sum(line, "tax_lines", "price", where, faults),
    }


def _shipping(document: dict[str, Any], faults: list[FieldError]) -> tuple[Decimal, Decimal]:
    charge, tax = Decimal(0), Decimal(0)
    for index, line in enumerate(_items(document, "shipping_lines")):
        where = f"shipping_lines[{index}]"
        charge += _amount(line.get("price"), f"{where}.price", faults)
        charge -= _sum(line, "discount_allocations", "amount", where, faults)
        tax += _sum(line, "tax_lines", "price", where, faults)
    return charge, tax


def _others(document: dict[str, Any]) -> str:
    """Name what may make the difference."""
    tip = document.get("total_tip_received")
    names = [f"a tip of {tip}"] if tip not in (None, "", "0.00", "0") else []
    names += ["duties"] if document.get("original_total_duties_set") else []
    names += ["additional fees"] if document.get("original_total_additional_fees_set") else []
    return f"; it has {' and '.join(names)}" if names else ""


def _name(person: dict[str, Any]) -> str:
    parts = (person.get("first_name"), person.get("last_name"))
    return person.get("name") or " ".join(part for part in parts if part)


def _customer(document: dict[str, Any]) -> dict[str, Any]:
    """Return the customer, or the guest who left an e-mail address on the order."""
    customer = document.get("customer") or {}
    address = document.get("shipping_address") or document.get("billing_address") or {}
    email = document.get("email") or document.get("contact_email") or customer.get("email")
    phone = document.get("phone") or customer.get("phone")
    name = _name(customer) or _name(address) or email
    return {"email": email, "name": name, **({"phone": phone} if phone else {})}


def _address(document: dict[str, Any]) -> dict[str, Any]:
    """Return where it goes; what is not sent goes to where the bill goes."""
    address = document.get("shipping_address") or document.get("billing_address") or {}
    line2 = ", ".join(part for part in (address.get("address2"), address.get("company")) if part)
    optional = {
        "line2": line2,
        "region": address.get("province_code"),
        "postal_code": address.get("zip"),
        "phone": address.get("phone"),
        "latitude": address.get("latitude"),
        "longitude": address.get("longitude"),
    }
    return {
        "name": _name(address),
        "line1": address.get("address1"),
        "city": address.get("city"),
        "country": address.get("country_code"),
        **{name: value for name, value in optional.items() if value not in (None, "")},
    }


def _method(document: dict[str, Any]) -> str:
    gateways = document.get("payment_gateway_names") or [document.get("gateway") or ""]
    text = str(gateways[0] if isinstance(gateways, list) and gateways else "").lower()
    words = text.replace("_", " ").replace("(", " ").replace(")", " ").split()
    return next((method for word, method in _METHODS.items() if word in words), "card")


def documents(content: bytes) -> list[Any]:
    """Return the orders of a file: one, ``{"order": ...}``, ``{"orders": [...]}``, a list, NDJSON.

    Raises:
        ValidationFailed: it is no JSON.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_json(str(error)) from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        found = _lines_of_json(text, error)
    if isinstance(found, dict):
        found = found.get("orders") or found.get("order") or found
    return found if isinstance(found, list) else [found]


def _lines_of_json(text: str, whole: json.JSONDecodeError) -> Sequence[Any]:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise _no_json(str(whole)) from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line)
        except json.JSONDecodeError as error:
            raise _no_json(f"line {number}: {error}") from None
        found.append(one.get("order") or one if isinstance(one, dict) else one)
    return found


def _no_json(message: str) -> ValidationFailed:
    return ValidationFailed(
        "The file cannot be read.", [FieldError("file", "not_json", f"is no JSON: {message}")]
    )
