"""Write a message in the transaction of the change it tells of; the worker delivers it later."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.notifications.tables import OutboxMessage


def post(connection: Connection, kind: str, recipient: str, payload: dict[str, Any]) -> None:
    """Queue one message of ``kind`` (``order.confirmed``, ...) to an e-mail address."""
    connection.execute(
        sa.insert(OutboxMessage).values(
            kind=kind, recipient=recipient, payload=payload, created_at=clock.now()
        )
    )
