"""The limits of the money half: the same rows by the bare driver, and nothing looked at twice.

The same tables, feed, constraints, durability and calls of the gateway as the product has; but a
capture is reserved and claimed in one transaction, and nothing follows from news.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from oms_ops.payments.gateways.fake import Fake
from oms_ops.payments.gateways.interface import Call
from tests.benchmarks.handwritten import Handwritten, now_text

_FOLDED = 32

_RESERVE = (
    "UPDATE payments SET capturing_minor = capturing_minor + ?, version = version + 1,"
    " changed_by = ?, changed_at = ? WHERE id = ? AND amount_minor - captured_minor"
    " - capturing_minor - voided_minor >= ? AND authorised_minor - captured_minor"
    " - capturing_minor >= ? RETURNING order_id, gateway_reference, currency"
)
_TARGET = (
    "SELECT gateway_reference FROM payment_events WHERE payment_id = ? AND kind = 'authorised'"
)
_OPERATION = (
    "INSERT INTO payment_operations (payment_id, kind, status, key, amount_minor, currency,"
    " attempts, next_attempt_at, requested_at, version, changed_by, changed_at)"
    " VALUES (?, 'capture', 'pending', ?, ?, ?, 1, ?, ?, 1, ?, ?) RETURNING id"
)
_SETTLE = (
    "UPDATE payment_operations SET status = 'settled', settled_at = ?, gateway_reference = ?,"
    " version = version + 1, changed_by = ?, changed_at = ? WHERE id = ? AND status = 'pending'"
)
_EVENT = (
    "INSERT INTO payment_events (payment_id, kind, amount_minor, currency, gateway_reference,"
    " occurred_at, changed_by) VALUES (?, 'captured', ?, ?, ?, ?, ?)"
    " ON CONFLICT (payment_id, kind, gateway_reference) DO NOTHING"
)
_CAPTURED = (
    "UPDATE payments SET captured_minor = captured_minor + ?, capturing_minor = capturing_minor"
    " - ?, version = version + 1, changed_by = ?, changed_at = ? WHERE id = ?"
)
_STORE = (
    "INSERT INTO gateway_messages (gateway, external_id, topic, body, status, attempts,"
    " received_at) VALUES ('fake', ?, ?, ?, 'received', 0, ?)"
    " ON CONFLICT (gateway, external_id) DO NOTHING"
)
_CLAIM = (
    "UPDATE gateway_messages SET attempts = attempts + 1, next_attempt_at = ?"
    " WHERE status = 'received' RETURNING id, body"
)
_APPLIED = (
    "UPDATE gateway_messages SET status = 'applied', payment_id = ?, settled_at = ? WHERE id = ?"
)


class MoneyByHand(Handwritten):
    """One connection of the bare driver that captures, takes messages in and folds them."""

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Write in one transaction; give its moment, as the database keeps it."""
        if self.queue:
            fcntl.flock(self.queue, fcntl.LOCK_EX)
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._moment()
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise
        finally:
            if self.queue:
                fcntl.flock(self.queue, fcntl.LOCK_UN)

    def _moment(self, **later: float) -> Any:
        moment = datetime.now(UTC) + timedelta(**later)
        return now_text(moment) if self.sqlite else moment

    def capture(self, gateway: Fake, payment_id: int, amount: int) -> None:
        """Reserve a part of a payment, let the gateway capture it, and settle it."""
        key = f"oms-{secrets.token_hex(12)}"
        lock = "" if self.sqlite else " FOR UPDATE"
        with self._transaction() as now:
            stamp = (self.actor, now)
            order_id, payment, currency = self._do(
                _RESERVE, amount, *stamp, payment_id, amount, amount
            ).fetchone()
            (target,) = self._do(_TARGET, payment_id).fetchone()
            (operation,) = self._do(
                _OPERATION, payment_id, key, amount, currency, self._moment(minutes=1), now, *stamp
            ).fetchone()
        outcome = gateway.call(
            Call(key, "capture", amount, currency, "by hand", payment, target, final=False)
        )
        with self._transaction() as now:
            stamp = (self.actor, now)
            self._do(f"SELECT id FROM orders WHERE id = ?{lock}", order_id).fetchone()
            self._do(_SETTLE, now, outcome.reference, *stamp, operation)
            self._do(_EVENT, payment_id, amount, currency, outcome.reference, now, self.actor)
            self._do(_CAPTURED, amount, amount, *stamp, payment_id)

    def receive(self, headers: dict[str, str], body: bytes, secret: str) -> None:
        """Verify and store a message."""
        event_id, at = headers["fake-id"], headers["fake-time"]
        text = f"{event_id}.{at}.".encode() + body
        expected = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, headers["fake-signature"]):
            raise ValueError("not signed")
        topic = json.loads(body)["kind"]
        with self._transaction() as now:
            self._do(_STORE, event_id, topic, body.decode(), now)

    def fold(self) -> int:
        """Fold what waits, some messages a transaction; return how many."""
        with self._transaction():
            waiting = self._do(_CLAIM, self._moment(minutes=1)).fetchall()
        waiting.sort()
        for place in range(0, len(waiting), _FOLDED):
            self._fold(waiting[place : place + _FOLDED])
        return len(waiting)

    def _fold(self, messages: Sequence[tuple[int, str]]) -> None:
        lock = "" if self.sqlite else " FOR UPDATE"
        find = f"SELECT id, order_id FROM payments WHERE gateway_reference = ?{lock}"
        with self._transaction() as now:
            for message_id, body in messages:
                event = json.loads(body)
                payment_id, _ = self._do(find, event["payment"]).fetchone()
                amount = event["amount"]
                at = event["at"] if not self.sqlite else now
                new = self._do(
                    _EVENT, payment_id, amount, event["currency"], event["reference"], at, "fake"
                )
                if new.rowcount:
                    self._do(_CAPTURED, amount, 0, self.actor, now, payment_id)
                self._do(_APPLIED, payment_id, now, message_id)
