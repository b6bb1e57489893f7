"""Shopify's order JSON as one of our submissions, and the check that nothing of its money is lost.

Amounts are taken from Shopify's strings exactly, in the shop's currency. Whatever our order has no
place for (a tip, duties) shows in the total, and an order whose total is not Shopify's is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.notifications import nobody
from oms_ops.shapes import storable

CHANNEL = "shopify"

#: Words in the name of Shopify's payment gateway that tell how it was paid; else by card.
_METHODS = {
    "cash": "cash",
    "cod": "cash",
    "bank": "bank_transfer",
    "wire": "bank_transfer",
    "invoice": "bank_transfer",
    "gift": "gift_card",
}
#: Major units of any amount, its decimal places, and the units of a line: no order reaches them.
_MOST = Decimal(10_000_000)
_PLACES = 8
_MOST_UNITS = 1_000_000
_LONGEST_ID = 100


def refusal(document: Any) -> FieldError | None:
    """Return why an order is none to capture at all: no order, a test, or cancelled already."""
    if not isinstance(document, dict) or not document.get("id"):
        return FieldError("id", "required", "is no order of Shopify's")
    if not _is_id(document["id"]):
        return FieldError("id", "invalid", "is no number or short text")
    if document.get("test"):
        return FieldError("test", "test_order", "is a test order")
    if document.get("cancelled_at"):
        return FieldError("cancelled_at", "cancelled", "is cancelled in Shopify")
    return None


def _is_id(value: Any) -> bool:
    try:
        text = storable(str(value)) if isinstance(value, str | int) else ""
    except ValueError:
        return False
    return 0 < len(text) <= _LONGEST_ID and not isinstance(value, bool)


def submission(document: dict[str, Any]) -> dict[str, Any]:
    """Return what :func:`oms_ops.orders.capture.capture` takes of an order.

    Raises:
        ValidationFailed: a part is of another type than Shopify's (``dict_type``, ``list_type``,
            ``string_type``), an amount is none, or the parts do not add up to ``total_price``
            (``total_mismatch``). All else that is wrong is found by the capture.
    """
    part = _Part(document, "", [])
    lines = [_line(line) for line in part.parts("line_items")]
    shipping, shipping_tax = _shipping(part)
    total = part.amount("total_price")
    included = bool(document.get("taxes_included"))
    made = {
        "external_id": str(document["id"]),
        "channel": CHANNEL,
        "currency": part.text("currency"),
        "customer": _customer(part),
        "ship_to": _address(part),
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
        "placed_at": part.text("processed_at") or part.text("created_at"),
        **({"note": note} if (note := part.text("note")) else {}),
    }
    if not part.faults:
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
            part.faults.append(FieldError("total_price", "total_mismatch", message))
    if part.faults:
        raise ValidationFailed("The order has bad fields.", part.faults)
    return made


def essence(submitted: dict[str, Any]) -> dict[str, Any]:
    """Return of a submission what makes another order of it.

    Left out is what Shopify completes by itself once it is placed: the gateway, the map's
    coordinates, and what it knows of the customer beside the address that the order went to.
    """
    left_out = ("payment", "placed_at", "customer")
    place = {k: v for k, v in submitted["ship_to"].items() if k not in ("latitude", "longitude")}
    rest = {name: value for name, value in submitted.items() if name not in left_out}
    return {**rest, "ship_to": place, "email": submitted["customer"]["email"]}


class _Part:
    """An object of the document, read with the types that it has to have."""

    def __init__(self, values: dict[str, Any], where: str, faults: list[FieldError]) -> None:
        self.values = values
        self.where = where
        self.faults = faults

    def _fault(self, name: str, code: str, message: str) -> None:
        self.faults.append(FieldError(f"{self.where}{name}", code, message))

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            self._fault(name, "string_type", "is no text")
            return None
        return value or None

    def part(self, name: str) -> _Part:
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            self._fault(name, "dict_type", "is no object")
        known = value if isinstance(value, dict) else {}
        return _Part(known, f"{self.where}{name}.", self.faults)

    def parts(self, name: str) -> list[_Part]:
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            self._fault(name, "list_type", "is no list")
        found = []
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                found.append(_Part(item, f"{self.where}{name}[{index}].", self.faults))
            else:
                self._fault(f"{name}[{index}]", "dict_type", "is no object")
        return found

    def amount(self, name: str) -> Decimal:
        amount = amount_of(self.values.get(name))
        if amount is None:
            message = f"{str(self.values.get(name))[:40]!r} is no decimal text of an order's size"
            self._fault(name, "not_an_amount", message)
        return amount or Decimal(0)

    def sum(self, name: str, key: str) -> Decimal:
        return sum((part.amount(key) for part in self.parts(name)), start=Decimal(0))

    def units(self, name: str) -> int:
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self._fault(name, "not_a_whole_number", "is no whole number")
        elif abs(value) > _MOST_UNITS:
            self._fault(name, "less_than_equal", f"is more than {_MOST_UNITS}")
        else:
            return value
        return 0


def amount_of(value: Any) -> Decimal | None:
    """Return an amount in major units, None where it is none or of no order's size."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    try:
        amount = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    if not amount.is_finite() or abs(amount) > _MOST:
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and exponent >= -_PLACES else None


def _line(line: _Part) -> dict[str, Any]:
    return {
        # A line without a SKU is refused by the capture under its own name.
        "sku": line.text("sku") or f"(none: {line.text('title')})"[:200],
        "quantity": line.units("quantity"),
        "unit_price": line.amount("price"),
        "discount": line.sum("discount_allocations", "amount"),
        "tax": line.sum("tax_lines", "price"),
    }


def _shipping(order: _Part) -> tuple[Decimal, Decimal]:
    charge, tax = Decimal(0), Decimal(0)
    for line in order.parts("shipping_lines"):
        charge += line.amount("price") - line.sum("discount_allocations", "amount")
        tax += line.sum("tax_lines", "price")
    return charge, tax


def _others(document: dict[str, Any]) -> str:
    """Name what may make the difference."""
    tip = document.get("total_tip_received")
    names = [f"a tip of {str(tip)[:40]}"] if tip not in (None, "", "0.00", "0") else []
    names += ["duties"] if document.get("original_total_duties_set") else []
    names += ["additional fees"] if document.get("original_total_additional_fees_set") else []
    return f"; it has {' and '.join(names)}" if names else ""


def _name(person: _Part) -> str:
    names = filter(None, (person.text("first_name"), person.text("last_name")))
    return person.text("name") or " ".join(names)


def _place(order: _Part) -> _Part:
    """Return where it goes; what is not sent goes to where the bill goes."""
    name = "shipping_address" if order.values.get("shipping_address") else "billing_address"
    return order.part(name)


def _customer(order: _Part) -> dict[str, Any]:
    """Return the customer, or the guest who left an e-mail address or a phone number."""
    customer, place = order.part("customer"), _place(order)
    email = order.text("email") or order.text("contact_email") or customer.text("email")
    phone = order.text("phone") or customer.text("phone")
    if email is None:
        phone = phone or place.text("phone")
        email = _no_address(order, customer, phone)
        name = _name(customer) or _name(place) or phone or "Guest"
    else:
        name = _name(customer) or _name(place) or email
    return {"email": email, "name": name, **({"phone": phone} if phone else {})}


def _no_address(order: _Part, customer: _Part, phone: str | None) -> str:
    """Return the placeholder of who left no e-mail address: the same for the same customer."""
    digits = re.sub(r"\D", "", phone or "")
    if _is_id(number := customer.values.get("id")):
        who = f"customer-{number}"
    else:
        who = f"phone-{digits}" if digits else f"order-{order.values['id']}"
    return nobody.address(f"shopify-{who}")


def _address(order: _Part) -> dict[str, Any]:
    place = _place(order)
    line2 = ", ".join(filter(None, (place.text("address2"), place.text("company"))))
    optional = {
        "line2": line2,
        "region": place.text("province_code"),
        "postal_code": place.text("zip"),
        "phone": place.text("phone"),
        "latitude": place.values.get("latitude"),
        "longitude": place.values.get("longitude"),
    }
    return {
        "name": _name(place),
        "line1": place.text("address1"),
        "city": place.text("city"),
        "country": place.text("country_code"),
        **{name: value for name, value in optional.items() if value not in (None, "")},
    }


def _method(document: dict[str, Any]) -> str:
    gateways = document.get("payment_gateway_names") or [document.get("gateway") or ""]
    text = str(gateways[0] if isinstance(gateways, list) and gateways else "").lower()
    words = text.replace("_", " ").replace("(", " ").replace(")", " ").split()
    return next((method for word, method in _METHODS.items() if word in words), "card")
