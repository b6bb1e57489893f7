"""Settle an operation by what the gateway says became of it: once, whoever hears it first.

The caller holds the order's row. The payment is locked here, and the operation is looked at again
under that lock: an answer, a look-up and an event may all bring the same news.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, as_json, as_time, execute, ids, read_time
from oms_ops.errors import Conflict, NotFound
from oms_ops.money import to_text
from oms_ops.notifications import outbox
from oms_ops.payments import ledger, refunds
from oms_ops.payments.gateways.interface import Outcome
from oms_ops.payments.ledger import Event
from oms_ops.payments.refunds import MADE_AT_THE_GATEWAY, RefundRequest

_EVENT_OF = {"authorise": "authorised", "capture": "captured", "refund": "refunded"}
#: SQL on an operation ``o``: what was told before of the act with a reference.
_TOLD_BEFORE = (
    "SELECT e.amount_minor FROM payment_events AS e WHERE e.payment_id = o.payment_id AND e.kind ="
    " CASE o.kind WHEN 'capture' THEN 'captured' WHEN 'refund' THEN 'refunded' END"
    " AND e.gateway_reference = :reference"
)
#: The column of a payment that holds what an operation reserved.
_RESERVED = {"capture": "capturing_minor", "refund": "refunding_minor"}
#: Seconds after which a gateway is asked again what became of what waits.
_ASK_AGAIN = 60
#: What an operation still waits for news in; any other has had its last.
OPEN_STATUSES = ("pending", "waiting")
#: Tells whether all of a refund that failed is still to go back.
IsDue: TypeAlias = Callable[[Connection, int], bool]
#: Attempts after which a gateway has not answered for long, and the time after which a person may
#: believe that: she can ask as often as she likes.
MANY_ATTEMPTS = 5
GIVEN_UP_AFTER = timedelta(minutes=15)
#: The code of what failed by an event of the gateway's, not by its answer.
FAILED_AT_GATEWAY = "failed_at_gateway"
#: The code of what a gateway said it had done, and a person found it had not.
NOTHING_DONE = "nothing_done"
_GIVEN_UP = (NOTHING_DONE, "dismissed", "retried")
#: The code of what was given up and done after all, until a person has looked at it.
LATE = "late"


def settle(
    connection: Connection,
    by: str,
    operation_id: int,
    outcome: Outcome,
    *,
    is_due: IsDue | None = None,
) -> bool:
    """Bring an operation to what ``outcome`` says; tell whether that was news.

    ``by`` is who says so: the gateway's name. An amount that is not the one that was asked for, or
    that was told of the same act before, is never applied: the operation is flagged and keeps what
    it reserved until a person decides. With ``is_due``, the answer to a question that a person had
    given up is counted, as :func:`revive` does.
    """
    operation = _locked(connection, operation_id, outcome.reference)
    if operation["status"] not in OPEN_STATUSES:
        given_up = operation["status"] == "failed" and operation["code"] in _GIVEN_UP
        if is_due is None or not given_up or outcome.state != "done":
            return False
        if outcome.currency not in (None, operation["currency"]):
            return False
        revive(connection, by, operation_id, outcome, is_due=is_due)
        # Nobody expects it any more, and no message tells of it: a person is to see it.
        _recode(connection, by, operation_id, None, LATE)
        return True
    _know_payment(connection, operation, outcome)
    if outcome.state == "waiting":
        _wait(connection, operation, outcome)
        return False
    if outcome.state == "declined":
        _fail(connection, by, operation, outcome.code, outcome.message)
    elif _disagrees(operation, outcome):
        _flag(connection, by, operation, outcome)
    elif operation["told_before"] not in (None, operation["amount_minor"]):
        told = replace(outcome, amount_minor=operation["told_before"], currency=None)
        _flag(connection, by, operation, told)
    else:
        reference = outcome.reference or operation["key"]
        _do(connection, by, operation, operation["amount_minor"], reference)
    _wake_messages(connection, operation["payment_id"])
    return True


def revive(
    connection: Connection,
    by: str,
    operation_id: int,
    outcome: Outcome,
    *,
    is_due: IsDue,
) -> None:
    """Settle an operation that failed, or was given up, and that the gateway did after all.

    What it had reserved was let go of, so what it did counts as far as there is room for it: what
    was told of it before, else what the gateway says now. A refund of which less is to go back by
    then (``is_due`` is asked of its id), or that is of another amount, went back beside it.

    Raises:
        Conflict: the operation is not failed.
    """
    operation = _locked(connection, operation_id, outcome.reference)
    if operation["status"] != "failed":
        raise Conflict(f"Operation {operation_id} is {operation['status']}, not failed.")
    _know_payment(connection, operation, outcome)
    amount = operation["told_before"] or outcome.amount_minor or operation["amount_minor"]
    if amount != operation["amount_minor"]:
        operation["refund_id"] = None
        execute(
            connection,
            "UPDATE payment_operations SET told_minor = :told WHERE id = :id",
            {"told": amount, "id": operation_id},
        )
    if operation["refund_id"] and not is_due(connection, operation["refund_id"]):
        operation["refund_id"] = None
    reference = outcome.reference or operation["key"]
    _do(connection, by, operation, amount, reference, reserved=False)


def seen(connection: Connection, actor: Actor, operation_id: int) -> bool:
    """Put what was done late aside, as a person has looked at it; tell whether it was such."""
    actor.require(PAYMENTS_WRITE)
    return _recode(connection, actor.name, operation_id, LATE, None)


def _recode(
    connection: Connection, by: str, operation_id: int, old: str | None, new: str | None
) -> bool:
    """Set the code of a settled operation from ``old`` to ``new``; tell whether it had that."""
    return bool(
        execute(
            connection,
            "UPDATE payment_operations SET code = :new, version = version + 1, changed_by = :by,"
            " changed_at = :now WHERE id = :id AND status = 'settled'"
            " AND coalesce(code, '') = :old",
            {
                "id": operation_id,
                "old": old or "",
                "new": new,
                "by": by,
                "now": as_time(connection, clock.now()),
            },
        ).rowcount
    )


def accept(connection: Connection, actor: Actor, operation_id: int) -> None:
    """Record what the gateway says it did, though it was asked for something else.

    Raises:
        Conflict: the operation is not flagged.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    operation = _flagged(connection, operation_id)
    told = operation["told_minor"]
    if told <= 0:
        _fail(connection, actor.name, operation, NOTHING_DONE, None)
        return
    if (
        operation["refund_id"]
        and execute(
            connection,
            "UPDATE refunds SET amount_minor = :told WHERE id = :id AND status = 'pending'",
            {"told": told, "id": operation["refund_id"]},
        ).rowcount
    ):
        _resize_items(connection, actor, operation["refund_id"], told)
    reference = operation["gateway_reference"] or operation["key"]
    _do(connection, actor.name, operation, told, reference)


def dismiss(connection: Connection, actor: Actor, operation_id: int) -> None:
    """Treat an operation as not done and let go of what it reserved: it has failed.

    It is flagged, or its gateway has not answered for long and perhaps never will. Should that
    have done it after all, it is counted when it says so.

    Raises:
        Conflict: the operation is neither.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    operation = _locked(connection, operation_id)
    if operation["status"] in OPEN_STATUSES and operation["kind"] == "authorise":
        raise Conflict(
            f"Operation {operation_id} may yet hold the customer's money: void the payment, which"
            " lets go of it when the gateway answers, and add another one."
        )
    asked_at = read_time(operation["requested_at"])
    is_lately = asked_at is None or asked_at > clock.now() - GIVEN_UP_AFTER
    is_stuck = operation["attempts"] >= MANY_ATTEMPTS and not is_lately
    if operation["status"] in OPEN_STATUSES and not is_stuck:
        raise Conflict(
            f"Operation {operation_id} is {operation['status']}: the gateway is asked again by"
            f" itself. It can be given up after {MANY_ATTEMPTS} attempts and"
            f" {GIVEN_UP_AFTER.seconds // 60} minutes."
        )
    if operation["status"] not in ("flagged", *OPEN_STATUSES):
        raise Conflict(f"Operation {operation_id} is {operation['status']}: it has ended.")
    _fail(connection, actor.name, operation, NOTHING_DONE, f"dismissed by {actor.name}")
    _wake_messages(connection, operation["payment_id"])


def _resize_items(connection: Connection, actor: Actor, refund_id: int, told: int) -> None:
    """Let what a refund is for sum to what it is now.

    Where less went back the last items give way; what went back beyond them is good will.
    """
    stamp = {"by": actor.name, "now": as_time(connection, clock.now())}
    rows = execute(
        connection,
        "SELECT id, amount_minor FROM refund_items WHERE refund_id = :id ORDER BY id DESC",
        {"id": refund_id},
    ).fetchall()
    change = told - sum(amount for _, amount in rows)
    if rows and change > 0:
        execute(
            connection,
            "INSERT INTO refund_items (refund_id, kind, quantity, amount_minor, version,"
            " changed_by, changed_at) VALUES (:id, 'goodwill', 0, :amount, 1, :by, :now)",
            {"id": refund_id, "amount": change, **stamp},
        )
    for item_id, amount in rows:
        gone = min(amount, max(0, -change))
        change += gone
        if gone == amount:
            execute(connection, "DELETE FROM refund_items WHERE id = :id", {"id": item_id})
        elif gone:
            execute(
                connection,
                "UPDATE refund_items SET amount_minor = amount_minor - :gone,"
                " version = version + 1, changed_by = :by, changed_at = :now WHERE id = :id",
                {"id": item_id, "gone": gone, **stamp},
            )


def _flagged(connection: Connection, operation_id: int) -> dict[str, Any]:
    operation = _locked(connection, operation_id)
    if operation["status"] != "flagged":
        raise Conflict(f"Operation {operation_id} is {operation['status']}, not flagged.")
    return operation


def _locked(
    connection: Connection, operation_id: int, reference: str | None = None
) -> dict[str, Any]:
    """Lock the payment of an operation and return the operation's columns as they are then.

    ``told_before`` is the amount that was told before of what it did, by its ``reference``.
    """
    found = execute(
        connection,
        "SELECT payment_id FROM payment_operations WHERE id = :id",
        {"id": operation_id},
    ).fetchone()
    if found is None:
        raise NotFound(f"There is no payment operation {operation_id}.")
    ledger.lock(connection, [found[0]])
    cursor = execute(
        connection,
        f"SELECT o.*, ({_TOLD_BEFORE}) AS told_before FROM payment_operations AS o"
        " WHERE o.id = :id",
        {"id": operation_id, "reference": reference or ""},
    )
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))


def _know_payment(connection: Connection, operation: dict[str, Any], outcome: Outcome) -> None:
    if outcome.payment:
        execute(
            connection,
            "UPDATE payments SET gateway_reference = :reference WHERE id = :id"
            " AND (gateway_reference IS NULL OR gateway_reference <> :reference)",
            {"id": operation["payment_id"], "reference": outcome.payment},
        )


def _wait(connection: Connection, operation: dict[str, Any], outcome: Outcome) -> None:
    again = clock.now() + timedelta(seconds=_ASK_AGAIN * 2 ** min(operation["attempts"], 6))
    action = " action = :action," if outcome.action else ""
    execute(
        connection,
        f"UPDATE payment_operations SET status = 'waiting', problem = NULL,{action}"
        " next_attempt_at = :again,"
        " gateway_reference = coalesce(:reference, gateway_reference) WHERE id = :id",
        {
            "id": operation["id"],
            "action": as_json(dict(outcome.action or {})),
            "again": as_time(connection, again),
            "reference": outcome.reference,
        },
    )
    if outcome.reference and operation["gateway_reference"] is None:
        # What names another act is not the news of this one, and what was told of it is ours.
        _wake_messages(connection, operation["payment_id"])
        ledger.refold(connection, operation["changed_by"], [operation["payment_id"]])


def _disagrees(operation: dict[str, Any], outcome: Outcome) -> bool:
    if operation["kind"] == "void":
        # Whatever was held is let go of; there is no amount to agree on.
        return False
    amount, currency = outcome.amount_minor, outcome.currency
    return (amount is not None and amount != operation["amount_minor"]) or (
        currency is not None and currency != operation["currency"]
    )


def _wake_messages(connection: Connection, payment_id: int) -> None:
    """Let what waited for the answer of an operation be looked at again at once."""
    execute(
        connection,
        "UPDATE gateway_messages SET next_attempt_at = NULL WHERE payment_id = :id"
        " AND status = 'unmatched'",
        {"id": payment_id},
    )


def _do(
    connection: Connection,
    by: str,
    operation: dict[str, Any],
    amount: int,
    reference: str,
    *,
    reserved: bool = True,
) -> None:
    _close(connection, by, operation, "settled", reference=reference, reserved=reserved)
    kind = operation["kind"]
    if kind in _EVENT_OF:
        event = Event(operation["payment_id"], _EVENT_OF[kind], amount, reference,
                      target=operation["target"])  # fmt: skip
        is_new = ledger.record(connection, by, [event]) > 0
        if kind == "refund":
            _give_back(connection, by, operation, amount, is_new=is_new)
    if kind == "void":
        _give_up_authorising(connection, by, operation["payment_id"])


def _give_back(
    connection: Connection, by: str, operation: dict[str, Any], amount: int, *, is_new: bool
) -> None:
    """Settle the refund of an operation, or keep one beside it.

    A refund that is asked for again is settled by the first of its operations that the gateway did.
    What was told before has a refund of its own.
    """
    refund_id = operation["refund_id"]
    if refund_id is not None and _refund(connection, by, refund_id, "settled"):
        tell_refunded(connection, [refund_id])
        return
    if not is_new:
        return
    request = RefundRequest(operation["payment_id"], amount, MADE_AT_THE_GATEWAY)
    refunds.record(connection, by, [request], at=clock.now())


def _fail(
    connection: Connection,
    by: str,
    operation: dict[str, Any],
    code: str | None,
    message: str | None,
) -> None:
    _close(connection, by, operation, "failed", code=code or "declined", problem=message)
    event = Event(operation["payment_id"], "failed", operation["amount_minor"], operation["key"])
    ledger.record(connection, by, [event])
    if operation["kind"] == "refund":
        _refund(connection, by, operation["refund_id"], "failed")


def _flag(connection: Connection, by: str, operation: dict[str, Any], outcome: Outcome) -> None:
    asked = to_text(operation["amount_minor"], operation["currency"])
    told = outcome.amount_minor
    if outcome.currency not in (None, operation["currency"]) or told is None:
        # There is no amount of ours to accept.
        said, told = f"{outcome.amount_minor} minor units of {outcome.currency}", 0
    else:
        said = f"{to_text(told, operation['currency'])} {operation['currency']}"
    problem = f"asked to {operation['kind']} {asked} {operation['currency']}, {by} says {said}"
    execute(
        connection,
        "UPDATE payment_operations SET status = 'flagged', code = 'amount_differs',"
        " problem = :problem, told_minor = :told, gateway_reference = :reference,"
        " version = version + 1, changed_by = :by, changed_at = :now WHERE id = :id",
        {
            "id": operation["id"],
            "problem": problem,
            "told": told,
            "reference": outcome.reference,
            "by": by,
            "now": as_time(connection, clock.now()),
        },
    )
    # What was told of it by this name is what was asked for.
    ledger.refold(connection, by, [operation["payment_id"]])


def _close(
    connection: Connection,
    by: str,
    operation: dict[str, Any],
    status: str,
    *,
    reference: str | None = None,
    code: str | None = None,
    problem: str | None = None,
    reserved: bool = True,
) -> None:
    """End an operation and let go of what it reserved and of what was secret in it."""
    now = as_time(connection, clock.now())
    execute(
        connection,
        "UPDATE payment_operations SET status = :status, settled_at = :now, token = NULL,"
        " action = NULL, code = :code, problem = :problem,"
        " gateway_reference = coalesce(:reference, gateway_reference), version = version + 1,"
        " changed_by = :by, changed_at = :now WHERE id = :id",
        {
            "id": operation["id"],
            "status": status,
            "reference": reference,
            "code": code,
            "problem": problem[:500] if problem else None,
            "by": by,
            "now": now,
        },
    )
    column = _RESERVED.get(operation["kind"])
    if reserved and column:
        execute(
            connection,
            f"UPDATE payments SET {column} = {column} - :amount, version = version + 1,"
            " changed_by = :by, changed_at = :now WHERE id = :id",
            {
                "id": operation["payment_id"],
                "amount": operation["amount_minor"],
                "by": by,
                "now": now,
            },
        )


def _refund(connection: Connection, by: str, refund_id: int, status: str) -> bool:
    """Settle a refund, or let it have failed; one that is settled stays so. Tell whether it was."""
    return bool(
        execute(
            connection,
            "UPDATE refunds SET status = :status,"
            " refunded_at = CASE WHEN :settled = 1 THEN :now END,"
            " version = version + 1, changed_by = :by, changed_at = :now"
            " WHERE id = :id AND status <> 'settled'",
            {
                "id": refund_id,
                "status": status,
                "settled": int(status == "settled"),
                "by": by,
                "now": as_time(connection, clock.now()),
            },
        ).rowcount
    )


def tell_refunded(connection: Connection, refund_ids: Sequence[int]) -> None:
    """Tell customers that money is on its way back, or that it is in their store credit.

    Only those of the refunds that are settled are told. Of a return she is told once, when all of
    its refunds are settled.
    """
    if not refund_ids:
        return
    rows = execute(
        connection,
        "SELECT o.number, c.email, r.amount_minor, r.currency, r.reason, r.destination"
        " FROM refunds AS r"
        " JOIN orders AS o ON o.id = r.order_id JOIN customers AS c ON c.id = o.customer_id"
        f" WHERE r.id IN ({ids(connection, 'ids')}) AND r.status = 'settled'"
        # What has gone back elsewhere she has been told by whoever sent it.
        f" AND r.return_id IS NULL AND r.destination <> '{refunds.ELSEWHERE}' ORDER BY r.id",
        {"ids": as_ids(refund_ids)},
    ).fetchall()
    told: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for number, email, amount, currency, reason, destination in rows:
        payload = {"order": number, "amount": to_text(amount, currency), "currency": currency,
                   "reason": reason}  # fmt: skip
        kind = "payment.credited" if destination == "store_credit" else "payment.refunded"
        told.setdefault(kind, []).append((email, payload))
    for kind, messages in told.items():
        outbox.post_many(connection, kind, messages)


def _give_up_authorising(connection: Connection, by: str, payment_id: int) -> None:
    rows = execute(
        connection,
        "SELECT id FROM payment_operations WHERE payment_id = :id AND kind = 'authorise'"
        " AND status = 'waiting' ORDER BY id",
        {"id": payment_id},
    ).fetchall()
    for (operation_id,) in rows:
        _fail(connection, by, _locked(connection, operation_id), "voided", None)
