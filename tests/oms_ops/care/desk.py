"""The help desk of a small shop, in the words of the business."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.care import commands, opening, queries
from oms_ops.care.forms import TicketIn
from oms_ops.database import reading, run
from oms_ops.orders.queries import number_of
from tests.oms_ops.app import app_over
from tests.oms_ops.returns.desk import Desk as ReturnsDesk

AGENT = Actor("sue", "support")


class Desk(ReturnsDesk):
    """Orders that were delivered, and what customers ask about them."""

    def ticket(self, order_id: int | None = None, **changes: Any) -> int:
        """Open a ticket; return its id."""
        about = {"order": number_of(order_id, "SO")} if order_id else {"email": "new@example.com"}
        wanted = TicketIn.model_validate(
            {
                "channel": "phone",
                "topic": "delivery",
                "subject": "Where is it?",
                "message": "It has not come.",
                **about,
                **changes,
            }
        )
        return run(self.engine, lambda c: opening.open_tickets(c, AGENT, [wanted]))[0]

    def do(self, step: str, *arguments: Any, **named: Any) -> Any:
        """Let the agent do something with tickets."""
        act = getattr(commands, step)
        return run(self.engine, lambda c: act(c, AGENT, *arguments, **named))

    def shown(self, ticket_id: int) -> dict[str, Any]:
        """Return a ticket as the staff sees it."""
        with reading(self.engine) as connection:
            return queries.shown(connection, ticket_id)

    def letters(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what customers were told of tickets."""
        import json

        rows = self.shop.rows(
            "SELECT kind, payload FROM outbox_messages WHERE kind LIKE 'ticket%' ORDER BY id"
        )
        return [(k, json.loads(p) if isinstance(p, str) else p) for k, p in rows]

    def client(self, role: str | None = "support") -> TestClient:
        """Return a client with a key of the role; without one, for the customer."""
        if role is None:
            return TestClient(app_over(self.engine), raise_server_exceptions=False)
        made = self.shop.count("api_keys")
        key = run(self.engine, lambda c: keys.create(c, role, f"{role} {made}"))
        return TestClient(app_over(self.engine), headers={"Authorization": f"Bearer {key}"})


def number(ticket_id: int) -> str:
    """Return the number of a ticket."""
    return number_of(ticket_id, "TK")
