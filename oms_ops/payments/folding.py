"""Fold what a gateway tells into the ledger: what was asked for, and what happened there by itself.

What a message says of an operation must be what was asked for. What nobody here asked for counts as
far as the payment goes; but for as long as the answer to something that was asked is out, it may be
this. The order in which messages and answers come makes no difference in the end.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.errors import Conflict
from oms_ops.money import to_text
from oms_ops.payments import ledger, matching, messages, refunds, settling
from oms_ops.payments.gateways.interface import Outcome
from oms_ops.payments.ledger import Event
from oms_ops.payments.matching import Match
from oms_ops.payments.messages import DISAGREES, WAITS, Claimed
from oms_ops.payments.refunds import MADE_AT_THE_GATEWAY, RefundRequest

_NOT_GOT = "the customer has not got it; pay it another way, it counts as gone back"
_KIND_OF = {"authorised": "authorise", "captured": "capture", "voided": "void",
            "refunded": "refund"}  # fmt: skip


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
    operation = matching.named(connection, found, kind) if kind else None
    if operation and not may_wait and operation["status"] == "failed":
        # She has said that it did nothing of what it was asked, and now that it did this.
        operation = None
    if operation is None:
        if kind and may_wait and matching.may_be_asked(connection, found, kind):
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
    messages.settle(connection, message, "applied", None, found.payment_id)
    return news or message.has_waited


def _failed(connection: Connection, message: Claimed, found: Match, *, may_wait: bool) -> bool:
    """Fold the news that something did not happen, after all.

    A customer whose card was declined may try another one: her authorisation goes on waiting.
    """
    operation = matching.named(connection, found, None)
    asked = ("capture", "void", "refund")
    if operation is None and may_wait and matching.may_be_asked(connection, found, *asked):
        return _wait_for_answer(connection, message, found)
    if operation is None and matching.gave_back(connection, found):
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
    messages.settle(connection, message, "applied", None, found.payment_id)
    # Nothing follows: it would ask the gateway for the same again, and hear the same, for ever. But
    # for what was held back while the message waited.
    return message.has_waited


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
    messages.settle(connection, message, "unmatched", WAITS, found.payment_id)
    return False


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
        messages.settle(connection, message, "applied", None, found.payment_id)
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
    if not new and notice.kind != "failed" and (other := matching.told_before(connection, found)):
        amounts = [to_text(minor, notice.currency) for minor in (other, notice.amount_minor)]
        why = f"{notice.reference} was told as {amounts[0]} before, and now as {amounts[1]}"
        return _flag(connection, message, found, why)
    if new and notice.kind == "refunded":
        # What it is for follows from what is known of the order, when it is looked at.
        request = RefundRequest(
            found.payment_id, notice.amount_minor, MADE_AT_THE_GATEWAY, reference=notice.reference
        )
        refunds.record(connection, message.gateway, [request], at=notice.occurred_at)
    messages.settle(connection, message, "applied", None, found.payment_id)
    # While it waited nothing was asked of the gateway for the order.
    return bool(new) or message.has_waited


def _flag(connection: Connection, message: Claimed, found: Match, why: str) -> bool:
    messages.settle(connection, message, "flagged", why, found.payment_id)
    return message.has_waited


def count(connection: Connection, message_id: int, is_due: settling.IsDue) -> str:
    """Fold a message that waits, or disagrees, as what was made at the gateway; return its status.

    The caller holds the row of the order.

    Raises:
        Conflict: it does not wait for an answer, cannot be read now, or does not fit the payment.
    """
    status, why = messages.state_of(connection, message_id)
    if status != "flagged" and not (status == "unmatched" and why.startswith(WAITS)):
        raise Conflict(f"Message {message_id} is {status} and waits for no answer.")
    row = execute(
        connection,
        "SELECT id, gateway, body FROM gateway_messages WHERE id = :id",
        {"id": message_id},
    ).fetchone()
    message = Claimed(row[0], row[1], row[2], has_waited=True)
    found = matching.match(connection, message)
    if found is None:
        raise Conflict(f"Message {message_id} cannot be read now.")
    fold(connection, message, found, is_due, may_wait=False)
    after, why = messages.state_of(connection, message_id)
    if (status, after) == ("flagged", "flagged"):
        raise Conflict(f"Message {message_id} cannot be counted: {why}.")
    return after
