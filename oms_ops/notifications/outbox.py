"""Write a message in the transaction of the change it tells of; the worker delivers it later."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_rows, as_time, execute, rowset


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


def post_many(
    connection: Connection, kind: str, messages: Iterable[tuple[str, dict[str, Any]]]
) -> None:
    """Queue messages of one kind, each a recipient and a payload, with one statement."""
    rows = [{"recipient": to, "payload": json.dumps(payload)} for to, payload in messages]
    if not rows:
        return
    payload = "payload" if connection.dialect.name == "sqlite" else "CAST(payload AS json)"
    columns = {"recipient": "text", "payload": "text"}
    execute(
        connection,
        "INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)"
        f" SELECT :kind, recipient, {payload}, :now, 0"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r",
        {"kind": kind, "rows": as_rows(rows), "now": as_time(connection, clock.now())},
    )
