"""What we send to PayPal, and what its documents say in our terms. Nothing here talks to PayPal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from oms_ops.money import to_minor, to_text
from oms_ops.payments.gateways.interface import Call, Outcome

Document: TypeAlias = Mapping[str, Any]
State: TypeAlias = Literal["done", "waiting", "declined"]

#: PayPal's status -> ours; one that does not stand here is waited for.
AUTHORISATIONS: dict[str, State] = {
    "CREATED": "done",
    "CAPTURED": "done",
    "PARTIALLY_CAPTURED": "done",
    "DENIED": "declined",
    # It was authorised once; what counts is that nothing can be captured of it any more.
    "VOIDED": "declined",
}
CAPTURES: dict[str, State] = {
    "COMPLETED": "done",
    "PARTIALLY_REFUNDED": "done",
    "REFUNDED": "done",
    "DECLINED": "declined",
    "FAILED": "declined",
}
REFUNDS: dict[str, State] = {"COMPLETED": "done", "FAILED": "declined", "CANCELLED": "declined"}


def order_body(call: Call) -> Any:
    """Return the order that the customer is asked to approve."""
    from paypalserversdk.models.amount_with_breakdown import AmountWithBreakdown
    from paypalserversdk.models.order_request import OrderRequest
    from paypalserversdk.models.payment_source import PaymentSource
    from paypalserversdk.models.paypal_wallet import PaypalWallet
    from paypalserversdk.models.paypal_wallet_experience_context import (
        PaypalWalletExperienceContext,
    )
    from paypalserversdk.models.purchase_unit_request import PurchaseUnitRequest

    back = {"return_url": call.return_url, "cancel_url": call.return_url}
    shipping = _shipping(call)
    context = PaypalWalletExperienceContext(
        # The address is our order's, and she does not come back to look at the order again.
        shipping_preference="SET_PROVIDED_ADDRESS" if shipping else "NO_SHIPPING",
        user_action="PAY_NOW",
        **(back if call.return_url else {}),
    )
    unit = PurchaseUnitRequest(
        amount=AmountWithBreakdown(call.currency, to_text(call.amount_minor, call.currency)),
        description=f"Order {call.order}"[:127],
        custom_id=call.order,
        invoice_id=call.key,
        **({"shipping": shipping} if shipping else {}),
    )
    return OrderRequest(
        intent="AUTHORIZE",
        purchase_units=[unit],
        payment_source=PaymentSource(paypal=PaypalWallet(experience_context=context)),
    )


def _shipping(call: Call) -> Any:
    """Return where the goods go; None where that is not whole.

    PayPal refuses the order, and with it the payment, for an address that lacks what it expects of
    the country: without city, region or postal code none is given.
    """
    from paypalserversdk.models.address import Address
    from paypalserversdk.models.shipping_details import ShippingDetails
    from paypalserversdk.models.shipping_name import ShippingName

    to = call.ship_to
    if to is None or not (to.city and to.postal_code and to.region):
        return None
    optional = {"address_line_2": to.line2[:300]} if to.line2 else {}
    address = Address(
        country_code=to.country,
        address_line_1=to.line1[:300],
        admin_area_2=to.city[:120],
        admin_area_1=to.region[:300],
        postal_code=to.postal_code[:60],
        **optional,
    )
    return ShippingDetails(name=ShippingName(full_name=to.name[:300]), address=address)


def mark_body(call: Call) -> Any:
    """Return the changes that make an order, which the storefront made, ours."""
    from paypalserversdk.models.patch import Patch

    unit = "/purchase_units/@reference_id=='default'"
    return [
        Patch(op="add", path=f"{unit}/invoice_id", value=call.key),
        Patch(op="add", path=f"{unit}/custom_id", value=call.order),
    ]


def capture_body(call: Call) -> Any:
    """Return what to capture."""
    from paypalserversdk.models.capture_request import CaptureRequest

    return CaptureRequest(
        amount=_money(call),
        invoice_id=call.key,
        final_capture=call.final,
        note_to_payer=f"Order {call.order}",
    )


def refund_body(call: Call) -> Any:
    """Return what to refund."""
    from paypalserversdk.models.refund_request import RefundRequest

    return RefundRequest(amount=_money(call), custom_id=call.order, invoice_id=call.key)


def _money(call: Call) -> Any:
    from paypalserversdk.models.money import Money

    return Money(call.currency, to_text(call.amount_minor, call.currency))


def amount_of(document: Document) -> tuple[int, str]:
    """Return minor units and currency."""
    amount = document["amount"]
    return to_minor(amount["value"], amount["currency_code"]), amount["currency_code"]


def unit_of(order: Document) -> Document:
    """Return the one purchase unit of an order."""
    units: list[Document] = order.get("purchase_units") or [{}]
    return units[0]


def made_of(order: Document, name: str) -> Iterator[Document]:
    """Return the ``authorizations``, ``captures`` or ``refunds`` of an order."""
    yield from (unit_of(order).get("payments") or {}).get(name) or []


def order_id_of(document: Document) -> str | None:
    """Return the id of the order that an authorisation or a capture belongs to."""
    related = (document.get("supplementary_data") or {}).get("related_ids") or {}
    found: str | None = related.get("order_id")
    return found


def captured_of(order: Document) -> int:
    """Return what was captured of an order, in minor units; what still waits is counted."""
    captures = made_of(order, "captures")
    return sum(amount_of(c)[0] for c in captures if CAPTURES.get(c["status"]) != "declined")


def outcome_of(states: Mapping[str, State], document: Document, payment: str | None) -> Outcome:
    """Return what an authorisation, a capture or a refund tells by its status."""
    state = states.get(document["status"], "waiting")
    payment = payment or order_id_of(document)
    if state == "declined":
        reason = (document.get("status_details") or {}).get("reason") or document["status"]
        message = f"PayPal shows it as {document['status'].lower()}."
        return declined(reason, message, payment=payment, reference=document["id"])
    return Outcome(state, document["id"], payment, *amount_of(document))


def authorised(call: Call, order: Document) -> Outcome | None:
    """Return the authorisation that ``call`` made of the order, None where it made none."""
    for made in made_of(order, "authorizations"):
        if (made.get("invoice_id") or unit_of(order).get("invoice_id")) == call.key:
            return outcome_of(AUTHORISATIONS, made, order["id"])
    return None


def mismatch(call: Call, order: Document) -> Outcome | None:
    """Refuse an order that is not what was asked for: the customer's browser may have made it."""
    if order.get("intent") != "AUTHORIZE":
        message = "The PayPal order is not one to authorise."
    elif amount_of(unit_of(order)) != (call.amount_minor, call.currency):
        message = "The PayPal order is of another amount."
    else:
        return None
    return declined("ORDER_MISMATCH", message, payment=order["id"])


def waiting(order: Document) -> Outcome:
    """Send the customer to PayPal to approve the order."""
    for link in order.get("links") or []:
        # The first since the customer's wallet is named in the order, the second before.
        if link.get("rel") in ("payer-action", "approve"):
            return Outcome("waiting", payment=order["id"], action={"redirect_url": link["href"]})
    return Outcome("waiting", payment=order["id"])


def declined(
    code: str, message: str, *, payment: str | None = None, reference: str | None = None
) -> Outcome:
    """Return a refusal."""
    return Outcome("declined", reference=reference, payment=payment, code=code, message=message)
