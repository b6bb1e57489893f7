"""What gateways tell by themselves: verified and stored before it is answered, folded afterwards.

Messages come late, twice, out of order, for payments that are not known yet. Each is stored once
under its gateway's id; the worker matches it to a payment (:mod:`oms_ops.payments.matching`) and
folds it (:mod:`oms_ops.payments.folding`). What matches nothing is kept and tried again; what
disagrees with what was asked for is flagged and never applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset, run
from oms_ops.errors import NotFound, Unavailable
from oms_ops.payments.gateways.interface import NotNow, Uncertain
from oms_ops.payments.gateways.registry import gateway

#: Seconds until a message is looked at again, doubled with every attempt.
_PATIENCE = 60
_LONGEST_WAIT = 6 * 3600

#: Why a message waits that may be the news of what is asked of the gateway just now.
WAITS = "waits for what was asked"
#: SQL on messages that wait to be read, and the payments ``w`` that they are about.
WAITING = (
    "FROM gateway_messages AS m JOIN payments AS w ON w.id = m.payment_id"
    " WHERE m.status = 'unmatched'"
)
#: How the reason begins of one that tells another amount than was asked for.
DISAGREES = "asked to "


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stored message that this process takes its turn at."""

    id: int
    gateway: str
    body: str = field(repr=False)
    has_waited: bool = False


def receive(engine: Engine, name: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Verify and store a message of the gateway ``name``; tell whether it is new.

    Raises:
        NotFound: there is no such gateway.
        Unauthorised: the message is not its, or too old.
        ValidationFailed: it cannot be read.
        Unavailable: it cannot be verified now (some gateways have to be asked); it is sent again.
    """
    try:
        arrival = gateway(name).verify(headers, body, clock.now())
    except (NotNow, Uncertain) as error:
        raise Unavailable("The message cannot be verified now; send it again.") from error
    # JSON holds no NUL, and a text that does could not be stored.
    text = body.decode("utf-8", "replace").replace("\x00", "\ufffd")

    def work(connection: Connection) -> bool:
        stored = execute(
            connection,
            "INSERT INTO gateway_messages (gateway, external_id, topic, body, status, attempts,"
            " received_at) VALUES (:gateway, :id, :topic, :body, 'received', 0, :now)"
            " ON CONFLICT (gateway, external_id) DO NOTHING",
            {
                "gateway": name,
                "id": arrival.id,
                "topic": arrival.topic,
                "body": text,
                "now": as_time(connection, clock.now()),
            },
        )
        return bool(stored.rowcount)

    return run(engine, work)


def claim(connection: Connection, *, limit: int) -> list[Claimed]:
    """Take a turn at messages that wait; nobody else does until their lease is over."""
    now = clock.now()
    skip = "" if connection.dialect.name == "sqlite" else " FOR UPDATE SKIP LOCKED"
    rows = execute(
        connection,
        "SELECT id, gateway, body, payment_id IS NOT NULL, attempts FROM gateway_messages"
        " WHERE status IN ('received', 'unmatched')"
        " AND (next_attempt_at IS NULL OR next_attempt_at <= :now)"
        f" ORDER BY id LIMIT :limit{skip}",
        {"now": as_time(connection, now), "limit": limit},
    ).fetchall()
    if rows:
        columns = {"id": "bigint", "again": "timestamptz"}
        execute(
            connection,
            "UPDATE gateway_messages AS m SET attempts = m.attempts + 1, next_attempt_at = r.again"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE m.id = r.id",
            {
                "rows": as_rows(
                    {"id": row[0], "again": as_time(connection, now + _wait(row[4]))}
                    for row in rows
                )
            },
        )
    return [Claimed(row[0], row[1], row[2], bool(row[3])) for row in rows]


def _wait(attempts: int) -> timedelta:
    return timedelta(seconds=min(_PATIENCE * 2 ** min(attempts, 12), _LONGEST_WAIT))


def orders_of(connection: Connection, message_id: int) -> list[int]:
    """Return the order that a message is about, where that is known; as a list of one or none.

    Raises:
        NotFound: there is no such message.
    """
    found = execute(
        connection,
        "SELECT p.order_id FROM gateway_messages AS m LEFT JOIN payments AS p"
        " ON p.id = m.payment_id WHERE m.id = :id",
        {"id": message_id},
    ).fetchone()
    if found is None:
        raise NotFound(f"There is no gateway message {message_id}.")
    return [] if found[0] is None else [int(found[0])]


def state_of(connection: Connection, message_id: int) -> tuple[str, str]:
    """Return a message's status and the reason of it."""
    row = execute(
        connection,
        "SELECT status, coalesce(reason, '') FROM gateway_messages WHERE id = :id",
        {"id": message_id},
    ).fetchone()
    return str(row[0]), str(row[1])


def still_open(connection: Connection, message_ids: Iterable[int]) -> set[int]:
    """Return those of the messages that are not settled: a person may have been quicker."""
    rows = execute(
        connection,
        f"SELECT id FROM gateway_messages WHERE id IN ({ids(connection, 'ids')})"
        " AND status IN ('received', 'unmatched')",
        {"ids": as_ids(message_ids)},
    )
    return {row[0] for row in rows.fetchall()}


def waiting(connection: Connection, order_ids: Iterable[int]) -> set[int]:
    """Return those of the orders of which a message waits for an answer before it is folded."""
    rows = execute(
        connection,
        f"SELECT DISTINCT w.order_id {WAITING} AND w.order_id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(order_ids)},
    )
    return {row[0] for row in rows.fetchall()}


def keep(connection: Connection, message: Claimed, why: str) -> None:
    """Keep a message that could not be folded: it is tried again when its lease is over."""
    settle(connection, message, "unmatched", why)


def settle(
    connection: Connection,
    message: Claimed,
    status: str,
    reason: str | None,
    payment_id: int | None = None,
) -> None:
    """Set what became of a message, why, and the payment that it is of where that is known."""
    if status == "unmatched" and reason and not reason.startswith(WAITS):
        was = state_of(connection, message.id)[1]
        # That it waits is kept, whatever comes between.
        reason = f"{WAITS}; {reason}" if was.startswith(WAITS) else reason
    execute(
        connection,
        "UPDATE gateway_messages SET status = :status, reason = :reason,"
        # Once it is known which payment it is about, that stays known.
        " payment_id = coalesce(:payment, payment_id),"
        " settled_at = CASE WHEN :status = 'unmatched' THEN NULL ELSE :now END WHERE id = :id",
        {
            "id": message.id,
            "status": status,
            "reason": reason[:500] if reason else None,
            "payment": payment_id,
            "now": as_time(connection, clock.now()),
        },
    )
