"""What of the money needs a person, and what she can do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_READ, PAYMENTS_WRITE, Actor
from oms_ops.database import as_time, execute, read_time
from oms_ops.errors import Conflict, NotFound
from oms_ops.money import to_text
from oms_ops.payments.gateways import registry
from oms_ops.payments.gateways.registry import BALANCE, MANUAL
from oms_ops.payments.ledger import REFUNDED_HERE
from oms_ops.payments.messages import DISAGREES, WAITS
from oms_ops.payments.operations import OPEN
from oms_ops.payments.refunds import ELSEWHERE
from oms_ops.payments.settling import GIVEN_UP_AFTER, LATE, MANY_ATTEMPTS
from oms_ops.settings import settings

#: A message for a payment that is not known yet is usually early by seconds.
_UNMATCHED_AFTER = timedelta(minutes=15)
#: An answer comes in seconds; what waits for one keeps refunds of its order back.
_WAITS_AFTER = timedelta(minutes=1)
#: Gateways take a shop's answer to a charge-back for some weeks; then it is settled either way.
_CHARGE_BACK_DAYS = 90
#: Of each kind, at most so many: more of one kind is one trouble.
_MOST = 500

_OPERATION = (
    "SELECT x.id AS operation, x.payment_id AS payment, o.number, x.kind AS what,"
    " x.amount_minor AS amount, x.currency, x.problem, x.code, x.attempts, x.requested_at AS since,"
    f" (x.kind <> 'capture' OR x.status <> 'failed' OR ({OPEN} >= x.amount_minor"
    "  AND p.authorised_minor - p.captured_minor - p.capturing_minor >= x.amount_minor))"
    " AS can_retry, (x.status NOT IN ('pending', 'waiting')"
    "  OR (x.kind <> 'authorise' AND x.requested_at <= :given_up)) AS can_dismiss"
    " FROM payment_operations AS x JOIN payments AS p ON p.id = x.payment_id"
    " JOIN orders AS o ON o.id = p.order_id WHERE "
)

_MESSAGE = (
    "SELECT m.id AS message, m.payment_id AS payment, o.number, m.topic AS what,"
    f" m.gateway, m.reason AS problem, m.received_at AS since, m.reason LIKE '{DISAGREES}%'"
    " AND EXISTS (SELECT 1 FROM payment_operations AS x WHERE x.payment_id = p.id"
    "  AND x.status = 'failed') AND NOT EXISTS (SELECT 1 FROM payment_operations AS x"
    "  WHERE x.payment_id = p.id AND x.status IN ('pending', 'waiting', 'flagged')) AS countable"
    " FROM gateway_messages AS m"
    " LEFT JOIN payments AS p ON p.id = m.payment_id"
    " LEFT JOIN orders AS o ON o.id = p.order_id WHERE"
)

#: What banks took back and have not brought again, and when they last took it.
_CHARGED_BACK = (
    "SELECT payment_id, CAST(sum(CASE kind WHEN 'charged_back' THEN amount_minor"
    "  ELSE -amount_minor END) AS bigint) AS amount,"
    " max(CASE WHEN kind = 'charged_back' THEN occurred_at END) AS since FROM payment_events"
    " WHERE kind IN ('charged_back', 'charge_back_reversed') GROUP BY payment_id"
)

#: What gateways told of payments that their sums have no room for. A refund that was made at the
#: gateway and gave back what was captured beyond the payment leaves no difference. What a person
#: said has gone back elsewhere is told as long as a charge back.
_BEYOND = (
    "WITH told AS (SELECT e.payment_id, e.kind, CAST(sum(e.amount_minor) AS bigint) AS amount,"
    " max(e.occurred_at) AS since FROM payment_events AS e"
    f" JOIN payments AS q ON q.id = e.payment_id AND q.gateway NOT IN ('{MANUAL}', '{BALANCE}')"
    " WHERE e.kind IN ('captured', 'refunded', 'credited') GROUP BY e.payment_id, e.kind"
    f" UNION ALL SELECT payment_id, 'charged_back', amount, since FROM ({_CHARGED_BACK}) AS c"
    " WHERE since > :charged_back"
    "), uncounted AS (SELECT t.payment_id, t.kind, t.since, t.amount - CASE t.kind"
    "  WHEN 'captured' THEN p.captured_minor WHEN 'refunded' THEN p.refunded_minor"
    "  WHEN 'credited' THEN p.credited_minor ELSE p.charged_back_minor END AS amount"
    " FROM told AS t JOIN payments AS p ON p.id = t.payment_id"
    "), undone AS (SELECT u.payment_id, CASE WHEN u.amount < r.amount THEN u.amount"
    "  ELSE r.amount END AS amount FROM uncounted AS u JOIN ("
    "  SELECT e.payment_id, CAST(sum(e.amount_minor) AS bigint) AS amount FROM payment_events AS e"
    f"  WHERE e.kind = 'refunded' AND NOT {REFUNDED_HERE} AND e.payment_id IN (SELECT payment_id"
    "   FROM uncounted WHERE kind = 'captured' AND amount > 0) GROUP BY e.payment_id) AS r"
    "  ON r.payment_id = u.payment_id WHERE u.kind = 'captured'"
    "), looked_at AS (SELECT payment_id, CAST(sum(amount_minor) AS bigint) AS amount FROM refunds"
    f" WHERE destination = '{ELSEWHERE}' AND requested_at <= :charged_back GROUP BY payment_id"
    "), beyond AS (SELECT u.payment_id, u.kind, u.since, u.amount - CASE"
    "  WHEN u.kind IN ('captured', 'refunded') THEN coalesce(d.amount, 0) ELSE 0 END"
    "  - CASE u.kind WHEN 'refunded' THEN coalesce(l.amount, 0) ELSE 0 END AS amount"
    " FROM uncounted AS u LEFT JOIN undone AS d ON d.payment_id = u.payment_id"
    " LEFT JOIN looked_at AS l ON l.payment_id = u.payment_id AND u.since <= :charged_back)"
)

#: The columns that say whether an act that a kind has is possible for a row.
_ONLY_IF = {"count": "countable", "retry": "can_retry", "dismiss": "can_dismiss"}
#: What is said of what ``waits`` until a message of its order is read.
_WAITS_FOR_NEWS = (
    "The gateway has told of the order what waits for the answer to another question: it may be"
    " this. Look again when that is settled; message_waits says what can be done. What has gone"
    " back in a way that the payments do not know is recorded with its amount: dismiss this with"
    " it, or refund it elsewhere."
)
#: What is said of a message that waits where its gateway is not set up any more.
_SHUT = (
    "It waits for the answer of a gateway that is not set up any more: set it up, or dismiss it."
)

#: A query, what can be done (the names of routes), and how, in a sentence.
Kind: TypeAlias = tuple[str, tuple[str, ...], str]

_KINDS: dict[str, Kind] = {
    "operation_flagged": (
        f"{_OPERATION} x.status = 'flagged'",
        ("accept", "dismiss"),
        "The gateway did another amount than it was asked. Look at its own pages: accept what it"
        " says, or dismiss it if it did nothing.",
    ),
    "capture_failed": (
        f"{_OPERATION} x.kind = 'capture' AND x.status = 'failed'"
        " AND coalesce(x.code, '') NOT IN ('dismissed', 'retried')"
        f" AND p.authorised_minor > p.captured_minor + p.capturing_minor AND {OPEN} > 0",
        ("retry", "dismiss"),
        "What was earned was not collected. Retry, or collect it another way and dismiss this.",
    ),
    "void_failed": (
        f"{_OPERATION} x.kind = 'void' AND x.status = 'failed'"
        " AND coalesce(x.code, '') NOT IN ('dismissed', 'retried') AND NOT EXISTS ("
        "SELECT 1 FROM payment_operations AS y WHERE y.payment_id = x.payment_id"
        " AND y.kind = 'void' AND y.status <> 'failed')",
        ("retry", "dismiss"),
        "The customer's money is still held. Retry, or let go of it at the gateway and dismiss"
        " this.",
    ),
    "operation_late": (
        f"{_OPERATION} x.status = 'settled' AND x.code = '{LATE}'",
        ("dismiss",),
        "It was given up here and the gateway did it after all: it is counted. See whether the same"
        " was made another way meanwhile, and dismiss this.",
    ),
    "operation_stuck": (
        f"{_OPERATION} x.status IN ('pending', 'waiting') AND x.attempts >= {MANY_ATTEMPTS}"
        # A customer who has not come back yet is nobody's trouble.
        " AND NOT (x.kind = 'authorise' AND x.status = 'waiting')",
        ("retry", "dismiss"),
        "The gateway does not answer; it is asked again and again. Look at the problem; retry asks"
        " at once. Where the gateway's own pages say that it did nothing, or where it is gone for"
        " good, dismiss it: it has failed then, and counts if it is told of after all.",
    ),
    "message_flagged": (
        f"{_MESSAGE} m.status = 'flagged'",
        ("count", "dismiss"),
        "The gateway tells what does not fit; the problem says what of it counts. Look at its own"
        " pages. Count what is there and was taken for failed here; otherwise put right what has to"
        " be, and dismiss this.",
    ),
    "message_unmatched": (
        f"{_MESSAGE} m.status = 'unmatched' AND m.received_at < :unmatched"
        f" AND coalesce(m.reason, '') NOT LIKE '{WAITS}%'",
        ("dismiss",),
        "It could not be read, or no payment here is known by what it names: that may be of another"
        " shop. It is tried again by itself; dismiss what is not ours.",
    ),
    "message_waits": (
        "SELECT m.id AS message, m.payment_id AS payment, o.number, m.topic AS what,"
        " (SELECT min(x.id) FROM payment_operations AS x WHERE x.payment_id = m.payment_id"
        "  AND x.status IN ('pending', 'waiting') AND x.attempts > 0"
        "  AND x.gateway_reference IS NULL) AS operation,"
        " m.gateway, m.reason AS problem, m.received_at AS since FROM gateway_messages AS m"
        " JOIN payments AS p ON p.id = m.payment_id JOIN orders AS o ON o.id = p.order_id"
        " WHERE m.status = 'unmatched' AND m.received_at < :waits"
        f" AND m.reason LIKE '{WAITS}%'",
        ("count", "retry"),
        "It may be the answer to what the gateway was asked, which it has not given yet: nothing of"
        " the order is refunded until then. Look at the gateway's own pages: where somebody made it"
        " there, count it; retry asks for the answer at once.",
    ),
    "events_beyond_payment": (
        f"{_BEYOND} SELECT p.id AS payment, o.number, b.kind AS what, b.amount, p.currency,"
        " b.since FROM beyond AS b JOIN payments AS p ON p.id = b.payment_id"
        " JOIN orders AS o ON o.id = p.order_id WHERE b.amount > 0",
        (),
        "The gateway tells of more than this payment is for, and the rest is not counted. Compare"
        " with its own pages: what was collected twice is refunded there, and what was charged back"
        " after it had gone back is answered there.",
    ),
    "charge_back": (
        # What the bank took, also where less was left of the payment to take it from.
        "SELECT p.id AS payment, o.number, p.method AS what, c.amount, p.currency, c.since"
        f" FROM payments AS p JOIN orders AS o ON o.id = p.order_id JOIN ({_CHARGED_BACK}) AS c"
        " ON c.payment_id = p.id WHERE c.amount > 0 AND c.since > :charged_back",
        (),
        "The customer's bank took the money back. Answer at the gateway while it takes answers;"
        " what it says in the end is counted by itself.",
    ),
    "invoice_overdue": (
        f"SELECT p.id AS payment, o.number, p.method AS what, {OPEN} AS amount, p.currency,"
        " p.due_on AS since FROM payments AS p JOIN orders AS o ON o.id = p.order_id"
        f" WHERE p.method = 'invoice' AND p.due_on < :today AND {OPEN} > 0",
        ("capture", "void"),
        "It was to be paid by now. Capture the payment when the money is there, or void it.",
    ),
}


def listing(
    connection: Connection,
    actor: Actor,
    *,
    first: Mapping[str, Kind],
    more: Mapping[str, Kind],
    judge: Callable[[dict[str, Any]], tuple[tuple[str, ...], str] | None],
) -> list[dict[str, Any]]:
    """Return what needs a person, the oldest of each kind first.

    ``first`` and ``more`` are kinds from above, which take what orders cost; ``judge`` may say of a
    row what else can be done, and how.

    Each has ``kind``, ``order``, ``payment``, ``operation`` or ``message`` where it is of one,
    ``amount`` and ``currency``, ``since``, ``problem``, what can be done (``can``) and ``how``.

    Raises:
        Forbidden: the role may not see payments.
    """
    actor.require(PAYMENTS_READ)
    now = clock.now()
    parameters = {
        "unmatched": as_time(connection, now - _UNMATCHED_AFTER),
        "waits": as_time(connection, now - _WAITS_AFTER),
        "charged_back": as_time(connection, now - timedelta(days=_CHARGE_BACK_DAYS)),
        "given_up": as_time(connection, now - GIVEN_UP_AFTER),
        "today": now.astimezone(settings().zone).date().isoformat(),
    }
    return [
        _shown(kind, row, *(judge(row) or (can, how)))
        for kind, (query, can, how) in {**first, **_KINDS, **more}.items()
        for row in map(dict, _rows(connection, query, parameters))
    ]


def _rows(connection: Connection, query: str, parameters: dict[str, Any]) -> Iterator[Any]:
    # A statement is given only what it asks for.
    needed = {name: value for name, value in parameters.items() if f":{name}" in query}
    if connection.dialect.name != "sqlite":
        query = query.replace(":today", "CAST(:today AS date)")
    yield from connection.execute(
        sa.text(f"{query} ORDER BY since, payment LIMIT {_MOST}"), needed
    ).mappings()


def _shown(kind: str, row: dict[str, Any], can: tuple[str, ...], how: str) -> dict[str, Any]:
    amount, currency = row.get("amount"), row.get("currency")
    if row.get("waits"):
        can, how = tuple(each for each in can if each == "dismiss"), _WAITS_FOR_NEWS
    if kind == "message_waits" and registry.problem(row["gateway"]) is not None:
        can, how = ("dismiss",), _SHUT
    can = tuple(each for each in can if row.get(_ONLY_IF.get(each, ""), True))
    if "retry" in can and row.get("operation") is None:
        # It has its name by now: the message is read at once.
        can = tuple(each for each in can if each != "retry")
    return {
        "kind": kind,
        "what": row["what"],
        "order": row["number"],
        "payment": row["payment"],
        "operation": row.get("operation"),
        "message": row.get("message"),
        "amount": None if amount is None or currency is None else to_text(amount, currency),
        "currency": currency,
        "since": _moment(row["since"]),
        "attempts": row.get("attempts"),
        "code": row.get("code"),
        "problem": row.get("problem"),
        "can": list(can),
        "how": how,
    }


def _moment(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    if len(text) == len("2026-11-23"):
        return text
    moment = read_time(value)
    return moment.isoformat() if moment else None


def dismiss_message(connection: Connection, actor: Actor, message_id: int) -> None:
    """Put a message aside that a person has looked at; it stays stored.

    Raises:
        NotFound: there is no such message.
        Conflict: it is neither flagged nor unmatched, or it waits for what the gateway was asked:
            what it tells has happened, and is to be counted, unless its gateway is not set up any
            more.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    found = execute(
        connection,
        "SELECT status, reason, gateway FROM gateway_messages WHERE id = :id",
        {"id": message_id},
    ).fetchone()
    if found is None:
        raise NotFound(f"There is no gateway message {message_id}.")
    done = execute(
        connection,
        "UPDATE gateway_messages SET status = 'ignored', settled_at = :now,"
        " reason = substr('dismissed by ' || :by || coalesce(': ' || reason, ''), 1, 500)"
        " WHERE id = :id AND status IN ('flagged', 'unmatched')"
        f" AND (status = 'flagged' OR coalesce(reason, '') NOT LIKE '{WAITS}%' OR :shut = 1)",
        {
            "id": message_id,
            "by": actor.name,
            "now": as_time(connection, clock.now()),
            "shut": int(registry.problem(found[2]) is not None),
        },
    ).rowcount
    if not done and found[0] == "unmatched":
        raise Conflict(
            f"Message {message_id} {WAITS}: count it where somebody made at the gateway what it"
            " tells."
        )
    if not done:
        raise Conflict(f"Message {message_id} is {found[0]}: there is nothing to dismiss.")


def messages(
    connection: Connection,
    actor: Actor,
    *,
    status: str | None = None,
    before: int = 0,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of gateways' messages, the newest first, and the next page's cursor.

    The body is shown only to who may write payments: it holds what gateways tell of customers.

    Raises:
        Forbidden: the role may not see payments.
    """
    actor.require(PAYMENTS_READ)
    body = ", body" if actor.permits(PAYMENTS_WRITE) else ""
    conditions = ["1 = 1"]
    if status is not None:
        conditions.append("status = :status")
    if before:
        conditions.append("id < :before")
    rows = (
        connection.execute(
            sa.text(
                "SELECT id, gateway, external_id, topic, status, reason, payment_id, attempts,"
                f" received_at, settled_at{body} FROM gateway_messages"
                f" WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
            ),
            {
                "limit": limit + 1,
                **({"status": status} if status is not None else {}),
                **({"before": before} if before else {}),
            },
        )
        .mappings()
        .all()
    )
    page = [
        {
            **row,
            "received_at": _moment(row["received_at"]),
            "settled_at": _moment(row["settled_at"]),
        }
        for row in rows[:limit]
    ]
    return page, page[-1]["id"] if len(rows) > limit else None
