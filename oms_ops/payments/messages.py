"""What gateways tell by themselves: verified and stored before it is answered, folded afterwards.

Messages come late, twice, out of order, for payments that are not known yet. Each is stored once
under its gateway's id; the worker matches it to a payment and folds it. What matches nothing is
kept and tried again; what disagrees with what was asked for is flagged and never applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset, run
from oms_ops.errors import Conflict, NotFound, OmsError, Unavailable
from oms_ops.money import to_text
from oms_ops.payments import ledger, refunds, settling
from oms_ops.payments.gateways.interface import Notice, NotNow, Outcome, Uncertain
from oms_ops.payments.gateways.registry import gateway
from oms_ops.payments.ledger import Event
from oms_ops.payments.refunds import MADE_AT_THE_GATEWAY, RefundRequest

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

_NOT_GOT = "the customer has not got it; pay it another way, it counts as gone back"

_KIND_OF = {"authorised": "authorise", "captured": "capture", "voided": "void",
            "refunded": "refund"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stored message that this process takes its turn at."""

    id: int
    gateway: str
    body: str = field(repr=False)
    has_waited: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """The payment that a message is about, and the operation where it can be told."""

    payment_id: int
    order_id: int
    notice: Notice


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


def match(connection: Connection, message: Claimed) -> Match | None:
    """Return what a message is about; None where it tells nothing or its payment is not known.

    A message that tells nothing, or cannot be read, is settled here.
    """
    try:
        opened = gateway(message.gateway)
    except OmsError as error:
        # Its secrets are missing, since it came: it is read when they are back.
        _settle(connection, message, "unmatched", error.message)
        return None
    try:
        notice = opened.parse(message.body)
    except Exception as error:  # noqa: BLE001 - it is kept, and shown to people
        _settle(connection, message, "flagged", f"unreadable: {type(error).__name__}: {error}")
        return None
    if notice is None:
        _settle(connection, message, "ignored", None)
        return None
    row = execute(
        connection,
        "SELECT p.id, p.order_id FROM payments AS p WHERE p.gateway = :gateway AND p.id IN ("
        "SELECT o.payment_id FROM payment_operations AS o WHERE o.key = :key"
        " UNION SELECT q.id FROM payments AS q WHERE q.gateway_reference = :payment)"
        " ORDER BY p.id LIMIT 1",
        {"gateway": message.gateway, "key": notice.key, "payment": notice.payment},
    ).fetchone()
    if row is None:
        about = notice.payment or notice.key or notice.reference
        _settle(connection, message, "unmatched", f"no payment is known as {about}")
        return None
    return Match(row[0], row[1], notice)


def fold(
    connection: Connection,
    message: Claimed,
    found: Match,
    is_due: settling.IsDue,
    *,
    may_wait: bool = True,
) -> bool:
    """Apply a matched message under the locks of its order and payment; tell whether it was news.

    What a message says of an operation must be what was asked for. What nobody here asked for
    happened at the gateway itself, and counts as far as the payment goes; unless ``may_wait`` and
    the answer to something that was asked is still out, which may be this. The order in which
    messages and answers come makes no difference to what the ledger says in the end.
    """
    notice = found.notice
    payment = ledger.lock(connection, [found.payment_id])[found.payment_id]
    if may_wait and _status(connection, message.id)[0] not in ("received", "unmatched"):
        # A person was quicker.
        return False
    if notice.currency != payment["currency"]:
        why = f"the payment is in {payment['currency']}, the message in {notice.currency}"
        return _flag(connection, message, found, why)
    if notice.kind not in ("failed", "voided") and notice.amount_minor > payment["amount_minor"]:
        told, whole = (to_text(minor, payment["currency"])
                       for minor in (notice.amount_minor, payment["amount_minor"]))  # fmt: skip
        return _flag(connection, message, found, f"{told} of a payment of {whole}")
    if notice.kind == "failed":
        return _failed(connection, message, found, may_wait=may_wait)
    kind = _KIND_OF.get(notice.kind)
    operation = _named(connection, found, kind) if kind else None
    if operation and not may_wait and operation["status"] == "failed":
        # She has said that it did nothing of what it was asked, and now that it did this.
        operation = None
    if operation is None:
        if kind and may_wait and _may_be_asked(connection, found, kind):
            return _wait_for_answer(connection, message, found)
        return _happened_elsewhere(connection, message, found)
    if notice.kind != "voided" and operation["amount_minor"] != notice.amount_minor:
        asked, told = (to_text(minor, payment["currency"])
                       for minor in (operation["amount_minor"], notice.amount_minor))  # fmt: skip
        why = f"{DISAGREES}{operation['kind']} {asked}, told {told}"
        return _flag(connection, message, found, why)
    outcome = Outcome("done", notice.reference, notice.payment)
    if operation["status"] == "failed":
        return _done_after_all(connection, message, found, operation, outcome, is_due)
    news = settling.settle(connection, message.gateway, operation["id"], outcome)
    _settle(connection, message, "applied", None, found.payment_id)
    return news or message.has_waited


def _failed(connection: Connection, message: Claimed, found: Match, *, may_wait: bool) -> bool:
    """Fold the news that something did not happen, after all.

    A customer whose card was declined may try another one: her authorisation goes on waiting.
    """
    operation = _named(connection, found, None)
    asked = ("capture", "void", "refund")
    if operation is None and may_wait and _may_be_asked(connection, found, *asked):
        return _wait_for_answer(connection, message, found)
    if operation is None and _gave_back(connection, found):
        why = f"a refund made there, {found.notice.reference}, failed later: {_NOT_GOT}"
        return _flag(connection, message, found, why)
    if operation is None or operation["kind"] == "authorise":
        return _happened_elsewhere(connection, message, found)
    if operation["status"] == "settled":
        amount = to_text(operation["amount_minor"], found.notice.currency)
        why = f"a {operation['kind']} of {amount} that was settled failed later"
        if operation["kind"] == "refund":
            why += f": {_NOT_GOT}"
        return _flag(connection, message, found, why)
    outcome = Outcome("declined", found.notice.reference, code=settling.FAILED_AT_GATEWAY)
    settling.settle(connection, message.gateway, operation["id"], outcome)
    _settle(connection, message, "applied", None, found.payment_id)
    # Nothing follows: it would ask the gateway for the same again, and hear the same, for ever. But
    # for what was held back while the message waited.
    return message.has_waited


def _gave_back(connection: Connection, found: Match) -> bool:
    """Tell whether what a notice names was told as a refund before."""
    row = execute(
        connection,
        "SELECT count(*) FROM payment_events WHERE payment_id = :payment AND kind = 'refunded'"
        " AND gateway_reference = :reference",
        {"payment": found.payment_id, "reference": found.notice.reference},
    ).fetchone()
    return bool(row[0])


def _named(connection: Connection, found: Match, kind: str | None) -> dict[str, Any] | None:
    """Return the operation (of a kind) that a notice names by its key, or else by what was done.

    Never one that it merely resembles: somebody may have done the same at the gateway itself, and
    which of the two is heard of first must make no difference.
    """
    of_kind = "" if kind is None else " AND kind = :kind"
    rows = execute(
        connection,
        "SELECT id, kind, status, code, CASE WHEN status = 'settled'"
        " THEN coalesce(told_minor, amount_minor) ELSE amount_minor END FROM payment_operations"
        f" WHERE payment_id = :payment AND (key = :key OR gateway_reference = :reference){of_kind}"
        " ORDER BY CASE WHEN key = :key THEN 0 ELSE 1 END,"
        " CASE WHEN status = 'failed' THEN 1 ELSE 0 END, id DESC LIMIT 1",
        {
            "payment": found.payment_id,
            "key": found.notice.key or "",
            "reference": found.notice.reference,
            **({} if kind is None else {"kind": kind}),
        },
    ).fetchall()
    names = ("id", "kind", "status", "code", "amount_minor")
    return dict(zip(names, rows[0], strict=True)) if rows else None


def _may_be_asked(connection: Connection, found: Match, *kinds: str) -> bool:
    """Tell whether a notice that names no operation may be the news of one that is open.

    Of one whose reference the gateway has told, other references are not.
    """
    named = ", ".join(f"'{kind}'" for kind in kinds)
    row = execute(
        connection,
        "SELECT count(*) FROM payment_operations WHERE payment_id = :payment"
        f" AND status IN ('pending', 'waiting') AND attempts > 0 AND kind IN ({named})"
        " AND gateway_reference IS NULL",
        {"payment": found.payment_id},
    ).fetchone()
    return bool(row[0])


def _wait_for_answer(connection: Connection, message: Claimed, found: Match) -> bool:
    """Keep a notice until what was asked has its own answer, which says whether it is the same.

    What waits at the gateway is looked up at once, and what is settled wakes its messages.
    """
    execute(
        connection,
        "UPDATE payment_operations SET next_attempt_at = NULL WHERE payment_id = :payment"
        " AND status = 'waiting'",
        {"payment": found.payment_id},
    )
    _settle(connection, message, "unmatched", WAITS, found.payment_id)
    return False


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


def count(connection: Connection, message_id: int, is_due: settling.IsDue) -> str:
    """Fold a message that waits, or disagrees, as what was made at the gateway; return its status.

    The caller holds the row of the order.

    Raises:
        Conflict: it does not wait for an answer, cannot be read now, or does not fit the payment.
    """
    status, why = _status(connection, message_id)
    if status != "flagged" and not (status == "unmatched" and why.startswith(WAITS)):
        raise Conflict(f"Message {message_id} is {status} and waits for no answer.")
    row = execute(
        connection,
        "SELECT id, gateway, body FROM gateway_messages WHERE id = :id",
        {"id": message_id},
    ).fetchone()
    message = Claimed(row[0], row[1], row[2], has_waited=True)
    found = match(connection, message)
    if found is None:
        raise Conflict(f"Message {message_id} cannot be read now.")
    fold(connection, message, found, is_due, may_wait=False)
    after, why = _status(connection, message_id)
    if (status, after) == ("flagged", "flagged"):
        raise Conflict(f"Message {message_id} cannot be counted: {why}.")
    return after


def _status(connection: Connection, message_id: int) -> tuple[str, str]:
    """Return a message's status and the reason of it."""
    row = execute(
        connection,
        "SELECT status, coalesce(reason, '') FROM gateway_messages WHERE id = :id",
        {"id": message_id},
    ).fetchone()
    return str(row[0]), str(row[1])


def _done_after_all(
    connection: Connection,
    message: Claimed,
    found: Match,
    operation: dict[str, Any],
    outcome: Outcome,
    is_due: settling.IsDue,
) -> bool:
    """Count what the gateway did though it was taken for failed, or given up, before.

    Where the gateway itself had said that it failed, a person looks: as where it says so later.
    """
    settling.revive(connection, message.gateway, operation["id"], outcome, is_due=is_due)
    if operation["kind"] == "authorise":
        _settle(connection, message, "applied", None, found.payment_id)
    else:
        why = f"a {operation['kind']} that had failed ({operation['code']}) was done: it is counted"
        _flag(connection, message, found, why)
    return True


def _happened_elsewhere(connection: Connection, message: Claimed, found: Match) -> bool:
    notice = found.notice
    event = Event(
        found.payment_id,
        notice.kind,
        notice.amount_minor,
        notice.reference,
        notice.occurred_at,
        notice.target,
    )
    new = ledger.record(connection, message.gateway, [event])
    if not new and notice.kind != "failed" and (other := _told_before(connection, found)):
        amounts = [to_text(minor, notice.currency) for minor in (other, notice.amount_minor)]
        why = f"{notice.reference} was told as {amounts[0]} before, and now as {amounts[1]}"
        return _flag(connection, message, found, why)
    if new and notice.kind == "refunded":
        # What it is for follows from what is known of the order, when it is looked at.
        request = RefundRequest(
            found.payment_id, notice.amount_minor, MADE_AT_THE_GATEWAY, reference=notice.reference
        )
        refunds.record(connection, message.gateway, [request], at=notice.occurred_at)
    _settle(connection, message, "applied", None, found.payment_id)
    # While it waited nothing was asked of the gateway for the order.
    return bool(new) or message.has_waited


def _told_before(connection: Connection, found: Match) -> int | None:
    """Return what the same act was told as before, where that is another amount."""
    row = execute(
        connection,
        "SELECT amount_minor FROM payment_events WHERE payment_id = :payment AND kind = :kind"
        " AND gateway_reference = :reference AND amount_minor <> :amount",
        {
            "payment": found.payment_id,
            "kind": found.notice.kind,
            "reference": found.notice.reference,
            "amount": found.notice.amount_minor,
        },
    ).fetchone()
    return int(row[0]) if row else None


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
    _settle(connection, message, "unmatched", why)


def _flag(connection: Connection, message: Claimed, found: Match, why: str) -> bool:
    _settle(connection, message, "flagged", why, found.payment_id)
    return message.has_waited


def _settle(
    connection: Connection,
    message: Claimed,
    status: str,
    reason: str | None,
    payment_id: int | None = None,
) -> None:
    if status == "unmatched" and reason and not reason.startswith(WAITS):
        was = _status(connection, message.id)[1]
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
