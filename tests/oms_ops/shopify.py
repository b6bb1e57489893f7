"""An order as Shopify sends it, and how it is delivered and signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from copy import deepcopy
from typing import Any

from fastapi.testclient import TestClient

from oms_ops.exchange import webhooks

SECRET = "hush"

ADDRESS = {
    "first_name": "Ann",
    "last_name": "Lee",
    "name": "Ann Lee",
    "company": None,
    "address1": "1 Main Street",
    "address2": "Flat 2",
    "city": "Atlanta",
    "province": "Georgia",
    "province_code": "GA",
    "zip": "30301",
    "country": "United States",
    "country_code": "US",
    "phone": "+1 404 555 0123",
    "latitude": 33.7,
    "longitude": -84.4,
}

#: Two lines, an order discount of 10 % spread by Shopify, free shipping by a code, taxes on top.
ORDER: dict[str, Any] = {
    "id": 820982911946154508,
    "name": "#1001",
    "email": "Ann.Lee@Example.com",
    "created_at": "2026-01-05T10:00:00-05:00",
    "processed_at": "2026-01-05T10:00:01-05:00",
    "cancelled_at": None,
    "test": False,
    "currency": "USD",
    "financial_status": "paid",
    "payment_gateway_names": ["shopify_payments"],
    "taxes_included": False,
    "total_price": "10.06",
    "subtotal_price": "9.30",
    "total_tax": "0.76",
    "total_discounts": "6.03",
    "note": "leave at the door",
    "customer": {"id": 1, "email": "ann.lee@example.com", "first_name": "Ann", "last_name": "Lee"},
    "shipping_address": ADDRESS,
    "line_items": [
        {
            "id": 1, "sku": "SKU-1", "title": "Thing 1", "quantity": 3, "price": "1.99",
            "discount_allocations": [{"amount": "0.60", "discount_application_index": 0}],
            "tax_lines": [{"title": "GA", "price": "0.22", "rate": 0.04},
                          {"title": "Fulton", "price": "0.21", "rate": 0.039}],
        },
        {
            "id": 2, "sku": "SKU-2", "title": "Thing 2", "quantity": 1, "price": "3.98",
            "discount_allocations": [{"amount": "0.05", "discount_application_index": 0}],
            "tax_lines": [{"title": "GA", "price": "0.33", "rate": 0.079}],
        },
    ],
    "shipping_lines": [
        {"title": "Standard", "price": "5.00", "discount_allocations": [{"amount": "5.00"}],
         "tax_lines": []},
    ],
}  # fmt: skip


def document(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(ORDER), **changes}


def sign(body: bytes, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def deliver(
    client: TestClient, body: Any, *, webhook_id: str = "w-1", topic: str = webhooks.CREATE,
    secret: str = SECRET,
) -> Any:  # fmt: skip
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Hmac-Sha256": sign(raw, secret),
        "Content-Type": "application/json",
    }
    return client.post("/v1/webhooks/shopify", content=raw, headers=headers)
