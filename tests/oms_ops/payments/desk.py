"""The till over HTTP: clients of several roles."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from tests.oms_ops.app import app_over
from tests.oms_ops.payments.till import Till


class Desk:
    """Who works with the shop's money, by the name of the role."""

    def __init__(self, till: Till) -> None:
        """Make the application; clients are made as they are asked for."""
        self.till = till
        self.app = app_over(till.engine)
        self._clients: dict[str, TestClient] = {}

    def client(self, role: str = "clerk") -> TestClient:
        """Return the client of a role."""
        if role not in self._clients:
            key = run(self.till.engine, lambda c: keys.create(c, role, f"a {role}"))
            headers = {"Authorization": f"Bearer {key}"}
            self._clients[role] = TestClient(self.app, headers=headers)
        return self._clients[role]

    def post(self, path: str, body: Any = None, *, role: str = "clerk", **headers: str) -> Any:
        """Send a body; ``key="x"`` gives an idempotency key."""
        named = {"Idempotency-Key": headers["key"]} if "key" in headers else {}
        return self.client(role).post(f"/v1{path}", json=body, headers=named)

    def get(self, path: str, *, role: str = "clerk", **query: Any) -> Any:
        """Read."""
        return self.client(role).get(f"/v1{path}", params=query)

    def pay(self, order_id: int) -> int:
        """Let the card be authorised and captured; return the payment."""
        payment_id = self.till.payment(order_id)
        assert self.post(f"/payments/{payment_id}/authorise", {"token": "tok_1"}).is_success
        assert self.post(f"/payments/{payment_id}/capture").is_success
        return payment_id


def number(order_id: int) -> str:
    """Return the number of an order."""
    return f"SO-{10_000_000 + order_id}"


def codes(response: Any) -> dict[str, str]:
    """Return the code of each bad field of a refusal."""
    assert response.status_code == 422, response.text
    return {each["field"]: each["code"] for each in response.json()["errors"]}
