"""Write a message in the transaction of the change it tells of; the worker delivers it later."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_time, execute


def post(connection: Connection, kind: str, recipient: str, payload: dict[str, Any]) -> None:
    """Queue one message of ``kind`` (``order.confirmed``, ...) to an e-mail address."""
    execute(
        connection,
        "INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)"
        " VALUES (:kind, :recipient, :payload, :now, 0)",
        {
            "kind": kind,
            "recipient": recipient,
            "payload": json.dumps(payload),
            "now": as_time(connection, clock.now()),
        },
    )
