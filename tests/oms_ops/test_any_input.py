"""Whatever is sent to whatever route, it is answered or refused, never a fault of ours.

Bodies are drawn from the published contract, then spoiled here and there; the seed is fixed, so
that a failure can be run again.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import CLERK, Shop, order

#: ``ANY_INPUT=20000`` asks for longer.
REQUESTS = int(os.environ.get("ANY_INPUT", "500"))
ODD: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, 1.5, "", "x", "\x00", "\ud800",
    "a" * 5000, "NaN", "-1", "1e400", "0.001", [], {}, [[]], [None], {"a": 1}, "2026-02-30",
    "2026-11-23", "💥", "' OR 1=1--", "=1+1", "JPY",
]  # fmt: skip
LIKELY: dict[str, list[Any]] = {
    "sku": ["SKU-1", "SKU-2"], "warehouse": ["ATL", "NYC"], "currency": ["USD"],
    "email": ["bob@example.com", "new@example.com"], "country": ["US"], "region": ["GA"],
    "postal_code": ["30301"], "quantity": [1, 2], "line_no": [1, 2], "method": ["card"],
    "channel": ["web"], "reason": ["found", "lost", "late"], "supplier": ["ACME"],
    "order_line_id": [1, 2], "shipment_ids": [[1], [1, 2]],
    "code": ["SKU-1", "SO-10000001", "SH-10000001"], "order": ["SO-10000001"],
}  # fmt: skip
NUMBERS = ["SO-10000001", "WV-10000001", "PO-10000001", "1", "2", "ATL", "SKU-1", "pick", "nothing",
           "%00", "9" * 30, "BA-10000001", "TK-10000001", "bob@example.com", "fake"]  # fmt: skip


class Drawn:
    """Requests that fit the contract, more or less."""

    def __init__(self, contract: dict[str, Any], seed: int) -> None:
        self.contract = contract
        self.draw = random.Random(seed)
        self.operations = [
            (path, method, operation)
            for path, methods in contract["paths"].items()
            for method, operation in methods.items()
        ]

    def request(self) -> tuple[str, str, dict[str, Any], bytes | None]:
        """Return the method, path, query and body of one request."""
        path, method, operation = self.draw.choice(self.operations)
        query = {}
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", self.draw.choice(NUMBERS))
            elif parameter["in"] == "query" and self.draw.random() < 0.5:
                query[name] = self.draw.choice(["1", "x", "", "-1", "SKU-1", "9" * 20, "\x00"])
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return method, path, query, None
        return method, path, query, json.dumps(self.value(content["schema"])).encode()

    def value(self, schema: dict[str, Any]) -> Any:
        """Return something like what a schema asks for."""
        while "$ref" in schema:
            schema = self.contract["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if self.draw.random() < 0.1:
            return self.draw.choice(ODD)
        if "anyOf" in schema:
            return self.value(self.draw.choice(schema["anyOf"]))
        if "enum" in schema:
            return self.draw.choice(schema["enum"])
        if schema.get("type") == "array":
            return [self.value(schema.get("items", {})) for _ in range(self.draw.randint(0, 2))]
        if schema.get("type") == "object":
            return self.fields(schema)
        plain = {"integer": [0, 1, 3, 1000], "number": [0, 1.5, -3], "boolean": [True, False]}
        return self.draw.choice(plain.get(schema.get("type", ""), ["x", "10", "1.50", "ATL"]))

    def fields(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return an object; what is required is nearly always there."""
        chosen = {}
        for name, part in schema.get("properties", {}).items():
            if self.draw.random() < (0.97 if name in schema.get("required", ()) else 0.4):
                likely = LIKELY.get(name) if self.draw.random() < 0.75 else None
                chosen[name] = self.draw.choice(likely) if likely else self.value(part)
        if self.draw.random() < 0.05:
            chosen["unknown"] = 1
        return chosen


def test_nothing_that_is_sent_is_a_fault_of_ours(shop: Shop) -> None:
    for sku in ("SKU-1", "SKU-2"):
        shop.stock(sku, 50)
    for _ in range(3):
        capture(shop.engine, CLERK, order(("SKU-1", 2), ("SKU-2", 1)))
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    app = app_over(shop.engine)
    drawn = Drawn(app.openapi(), seed=1)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    faults, answered = [], 0
    with TestClient(app, raise_server_exceptions=False, headers=headers) as client:
        for _ in range(REQUESTS):
            method, path, query, body = drawn.request()
            response = client.request(method, path, params=query, content=body)
            answered += response.status_code < 300
            if response.status_code >= 500:
                faults.append((method, path, query, body))
    assert faults == []
    # Not all of it was nonsense.
    assert answered > REQUESTS / 20
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []
