"""What the stand-in for PayPal remembers, and the rules by which it does.

Written from PayPal's published reference of Orders v2 and Payments v2. Amounts are minor units in
here and decimal strings in what is answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any

Json = dict[str, Any]


class Refusal(Exception):
    """An error answer: status and issue code."""

    def __init__(self, status: int, issue: str) -> None:
        super().__init__(issue)
        self.status = status
        self.issue = issue


def minor(amount: Json) -> int:
    places = 0 if amount["currency_code"] == "JPY" else 2
    value = Decimal(amount["value"]).scaleb(places)
    if value != int(value) or value <= 0:
        raise Refusal(422, "DECIMAL_PRECISION")
    return int(value)


def money(amount: int, currency: str) -> Json:
    places = 0 if currency == "JPY" else 2
    return {"currency_code": currency, "value": f"{Decimal(amount).scaleb(-places):.{places}f}"}


@dataclass
class Books:
    """The whole state; whoever calls holds the server's lock."""

    url: str
    orders: dict[str, Json] = field(default_factory=dict)
    authorisations: dict[str, Json] = field(default_factory=dict)
    captures: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    #: The customer's means of payment fails when the next order is authorised.
    instrument_declines: bool = False
    #: The status that the next capture or refund gets in place of COMPLETED.
    next_status: str | None = None
    invoices: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def create(self, body: Json) -> Json:
        unit = dict(body["purchase_units"][0], reference_id="default")
        minor(unit["amount"])
        named = body.get("payment_source")
        key = self._id("ORD")
        self.orders[key] = {
            "id": key,
            "intent": body["intent"],
            "status": "PAYER_ACTION_REQUIRED" if named else "CREATED",
            "purchase_units": [unit],
            "payment_source": named,
            "links": [
                {"rel": "self", "href": f"{self.url}/v2/checkout/orders/{key}"},
                {
                    "rel": "payer-action" if named else "approve",
                    "href": f"{self.url}/checkoutnow?token={key}",
                },
            ],
        }
        return self.orders[key]

    def approve(self, order: str) -> None:
        """Do what the customer does on PayPal's page."""
        self.orders[order]["status"] = "APPROVED"

    def order(self, key: str) -> Json:
        if key not in self.orders:
            raise Refusal(404, "INVALID_RESOURCE_ID")
        return self.orders[key]

    def patch(self, key: str, patches: list[Json]) -> None:
        order = self.order(key)
        if order["status"] == "COMPLETED":
            raise Refusal(422, "ORDER_ALREADY_COMPLETED")
        for patch in patches:
            prefix, _, name = patch["path"].rpartition("/")
            if prefix != "/purchase_units/@reference_id=='default'":
                raise Refusal(422, "INVALID_PATCH_PATH")
            order["purchase_units"][0][name] = patch["value"]

    def authorise(self, key: str) -> Json:
        order = self.order(key)
        if order["status"] == "COMPLETED":
            raise Refusal(422, "ORDER_ALREADY_AUTHORIZED")
        if order["status"] != "APPROVED":
            raise Refusal(422, "ORDER_NOT_APPROVED")
        if self.instrument_declines:
            self.instrument_declines = False
            raise Refusal(422, "INSTRUMENT_DECLINED")
        unit = order["purchase_units"][0]
        made = self._thing("AUT", unit["amount"], unit.get("invoice_id"), "CREATED")
        made["custom_id"] = unit.get("custom_id")
        made["supplementary_data"] = {"related_ids": {"order_id": key}}
        self.authorisations[made["id"]] = made
        unit["payments"] = {"authorizations": [made], "captures": [], "refunds": []}
        order["status"] = "COMPLETED"
        return order

    def capture(self, key: str, body: Json) -> Json:
        source = self.authorisation(key)
        if source["status"] in ("VOIDED", "CAPTURED"):
            issue = "VOIDED" if source["status"] == "VOIDED" else "ALREADY_CAPTURED"
            raise Refusal(422, f"AUTHORIZATION_{issue}")
        unit = self._unit(source)
        earlier = sum(minor(c["amount"]) for c in unit["payments"]["captures"])
        if earlier + minor(body["amount"]) > minor(source["amount"]):
            raise Refusal(422, "MAX_CAPTURE_AMOUNT_EXCEEDED")
        if body.get("invoice_id") in self.invoices:
            raise Refusal(422, "DUPLICATE_INVOICE_ID")
        made = self._thing("CAP", body["amount"], body.get("invoice_id"), self._status())
        made["final_capture"] = bool(body.get("final_capture"))
        related = {**source["supplementary_data"]["related_ids"], "authorization_id": key}
        made["supplementary_data"] = {"related_ids": related}
        made["links"] = [{"rel": "up", "href": f"{self.url}/v2/payments/authorizations/{key}"}]
        if body.get("invoice_id"):
            self.invoices.add(body["invoice_id"])
        self.captures[made["id"]] = made
        unit["payments"]["captures"].append(made)
        whole = earlier + minor(body["amount"]) == minor(source["amount"])
        ended = whole or made["final_capture"]
        source["status"] = "CAPTURED" if ended else "PARTIALLY_CAPTURED"
        return made

    def void(self, key: str) -> Json:
        source = self.authorisation(key)
        if source["status"] == "VOIDED":
            raise Refusal(422, "PREVIOUSLY_VOIDED")
        if source["status"] == "CAPTURED":
            raise Refusal(422, "PREVIOUSLY_CAPTURED")
        source["status"] = "VOIDED"
        return source

    def refund(self, key: str, body: Json) -> Json:
        source = self.captured(key)
        unit = self._unit(source)
        earlier = sum(minor(r["amount"]) for r in unit["payments"]["refunds"] if r["of"] == key)
        left = minor(source["amount"]) - earlier
        if not left:
            raise Refusal(422, "CAPTURE_FULLY_REFUNDED")
        if minor(body["amount"]) > left:
            raise Refusal(422, "REFUND_AMOUNT_EXCEEDED")
        made = self._thing("REF", body["amount"], body.get("invoice_id"), self._status())
        made["custom_id"] = body.get("custom_id")
        made["of"] = key
        made["links"] = [{"rel": "up", "href": f"{self.url}/v2/payments/captures/{key}"}]
        self.refunds[made["id"]] = made
        unit["payments"]["refunds"].append(made)
        whole = left == minor(body["amount"])
        source["status"] = "REFUNDED" if whole else "PARTIALLY_REFUNDED"
        return made

    def authorisation(self, key: str) -> Json:
        if key not in self.authorisations:
            raise Refusal(404, "INVALID_RESOURCE_ID")
        return self.authorisations[key]

    def captured(self, key: str) -> Json:
        if key not in self.captures:
            raise Refusal(404, "INVALID_RESOURCE_ID")
        return self.captures[key]

    def done(self, kind: str) -> int:
        """Return how many acts of a kind there were."""
        if kind == "void":
            return sum(a["status"] == "VOIDED" for a in self.authorisations.values())
        made = {"authorise": self.authorisations, "capture": self.captures, "refund": self.refunds}
        return len(made[kind])

    def _unit(self, thing: Json) -> Json:
        order = thing["supplementary_data"]["related_ids"]["order_id"]
        unit: Json = self.orders[order]["purchase_units"][0]
        return unit

    def _status(self) -> str:
        status, self.next_status = self.next_status or "COMPLETED", None
        return status

    def _thing(self, prefix: str, amount: Json, invoice: str | None, status: str) -> Json:
        moment = "2026-11-02T10:00:00Z"
        whole = money(minor(amount), amount["currency_code"])
        made = {"id": self._id(prefix), "status": status, "amount": whole, "create_time": moment}
        return made | {"update_time": moment} | ({"invoice_id": invoice} if invoice else {})

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):012d}"
