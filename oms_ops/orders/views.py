"""An order as callers see it: one shape for the answer to a capture and for every later look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oms_ops.money import to_text


@dataclass(frozen=True, slots=True)
class Paid:
    """What the payments of an order come to, in minor units of its currency.

    ``authorised`` is without what was given up since: that is not going to be collected.
    ``refunded`` is what went back, also into the customer's credit; ``given_back`` the part of it
    that lowered what the order costs. ``forgiven`` is what came back before it was paid,
    ``went_back`` what was refunded of lines before their units were cancelled: the order costs so
    much less, but less of what was captured is left to pay for it.
    """

    authorised: int = 0
    captured: int = 0
    refunded: int = 0
    voided: int = 0
    charged_back: int = 0
    given_back: int = 0
    forgiven: int = 0
    went_back: int = 0


NOTHING_PAID = Paid()


def payment_status(total: int, paid: Paid, cancelled: int = 0) -> str:
    """Derive the payment status from an order's total, what is cancelled of it, and its payments.

    All are minor units. What is owed is ``total - cancelled`` less what came back unpaid; what
    cancelled units made void does not make the payment of the others void. What the customer's bank
    took back is not paid.
    """
    owed = total - cancelled - paid.forgiven
    captured, refunded, voided = paid.captured, paid.refunded, paid.voided
    kept = captured - paid.charged_back
    if refunded:
        return "refunded" if refunded >= captured else "partly_refunded"
    if kept >= owed and (captured or not total):
        return "paid"
    if kept:
        return "partly_paid"
    if owed and not captured and paid.authorised >= owed:
        return "authorised"
    return "voided" if voided > cancelled + paid.forgiven or (voided and not owed) else "unpaid"


def fulfilment_status(lines: Sequence[Mapping[str, Any]], *, delivered: bool = False) -> str:
    """Derive the fulfilment status from where the units of the lines are."""
    quantity, allocated, backordered, shipped, cancelled = (
        sum(line[key] for line in lines)
        for key in ("quantity", "allocated", "backordered", "shipped", "cancelled")
    )
    if cancelled == quantity:
        return "cancelled"
    if shipped == quantity - cancelled:
        return "delivered" if delivered else "shipped"
    if shipped:
        return "partly_shipped"
    if backordered:
        return "backordered"
    return "allocated" if allocated else "unallocated"


_ADDRESS = ("name", "line1", "line2", "city", "region", "postal_code", "country", "phone")


def to_percent(ppm: int) -> str:
    """Return a rate in millionths as percent: ``to_percent(88_750) == "8.875"``."""
    whole, part = divmod(ppm, 10_000)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".")


def render(
    order: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    *,
    paid: Paid,
    delivered: bool,
    public_url: str,
) -> dict[str, Any]:
    """Return the order as JSON-ready data; money is decimal text in the order's currency.

    ``order`` and ``lines`` have the columns of their tables; a line also ``sku`` and ``name``,
    the order also ``email`` and ``warehouse``. An order from before contacts were kept shows none.
    """
    currency = order["currency"]
    # What was never cancelled has no such column when it was just captured.
    cancelled = order.get("cancelled_minor", 0)
    owed = order["total_minor"] - cancelled - paid.forgiven
    still = owed + paid.went_back - paid.captured + paid.given_back + paid.charged_back

    def money(minor: int) -> str:
        return to_text(minor, currency)

    return {
        "number": order["number"],
        "external_id": order["external_id"],
        "channel": order["channel"],
        "version": order.get("version", 1),
        "status": order["status"],
        "hold_reason": order.get("hold_reason"),
        "cancel_reason": order.get("cancel_reason"),
        "payment_status": payment_status(order["total_minor"], paid, cancelled),
        "fulfilment_status": fulfilment_status(lines, delivered=delivered),
        "currency": currency,
        "base_currency": order["base_currency"],
        "exchange_rate": order["exchange_rate"],
        "tax_included": bool(order["tax_included"]),
        "customer": {
            "email": order["email"],
            "name": order["contact_name"],
            "phone": order["contact_phone"],
        },
        "placed_at": order["placed_at"].isoformat(),
        "warehouse": order["warehouse"],
        "promised_on": order["promised_on"].isoformat() if order["promised_on"] else None,
        "deliver_by": order["deliver_by"].isoformat() if order["deliver_by"] else None,
        "allow_backorder": bool(order["allow_backorder"]),
        "allow_split": bool(order["allow_split"]),
        "ship_complete": bool(order["ship_complete"]),
        "note": order["note"],
        "routing": order["routing"],
        "ship_to": {key: order[f"ship_{key}"] for key in _ADDRESS},
        "lines": [
            {
                "line_no": line["line_no"],
                "sku": line["sku"],
                "name": line["name"],
                "quantity": line["quantity"],
                "unit_price": money(line["unit_price_minor"]),
                "price_source": line["price_source"],
                "discount": money(line["discount_minor"]),
                "rounding": money(line["rounding_minor"]),
                "net": money(line["net_minor"]),
                "tax": money(line["tax_minor"]),
                "tax_percent": to_percent(line["tax_rate_ppm"]),
                "allocated": line["allocated"],
                "backordered": line["backordered"],
                "shipped": line["shipped"],
                "cancelled": line["cancelled"],
                "returned": line["returned"],
                "promised_on": str(line["promised_on"]) if line["promised_on"] else None,
            }
            for line in lines
        ],
        "totals": {
            "gross": money(order["gross_minor"]),
            "discount": money(order["discount_minor"]),
            "shipping": money(order["shipping_minor"]),
            "shipping_tax": money(order["shipping_tax_minor"]),
            "tax": money(order["tax_minor"]),
            "rounding": money(order["rounding_minor"]),
            "total": money(order["total_minor"]),
            "cancelled": money(cancelled),
            "owed": money(owed),
            "due": money(max(0, still)),
            "authorised": money(paid.authorised),
            "captured": money(paid.captured),
            "refunded": money(paid.refunded),
            "charged_back": money(paid.charged_back),
        },
        "tracking_url": f"{public_url}/track/{order['tracking_token']}",
    }


def waiting(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message says of what waits in an order as :func:`render` shows it.

    That is ``promised_on`` and ``waiting``: per line its ``sku``, ``name``, ``quantity`` and
    ``promised_on``. Nothing where nothing waits.
    """
    lines = [
        {
            "sku": line["sku"],
            "name": line["name"],
            "quantity": line["backordered"],
            "promised_on": line["promised_on"],
        }
        for line in order["lines"]
        if line["backordered"]
    ]
    return {"promised_on": order["promised_on"], "waiting": lines} if lines else {}
