"""Tables of the payments: tenders, the immutable events of each, and what is asked of gateways."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import KEEPS_IDS, Base, Count, Id, Minor, Tracked, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

PAYMENT_METHODS = (
    "card", "paypal", "bank_transfer", "cash", "invoice", "gift_card", "store_credit",
)  # fmt: skip
#: What an order can be captured with: credit is looked up and added after it.
CAPTURE_METHODS = PAYMENT_METHODS[:-1]
EVENT_KINDS = (
    "authorised", "captured", "voided", "refunded", "credited", "failed", "charged_back",
    "charge_back_reversed",
)  # fmt: skip
REFUND_STATUSES = ("pending", "settled", "failed")
#: Where the money of a refund goes: back to where it came from, into the customer's credit, or
#: ``elsewhere``, by no way that the shop's payments know.
REFUND_DESTINATIONS = ("original", "store_credit", "elsewhere")
#: What money goes back for: units of a line, what sending cost, or nothing but good will.
REFUND_ITEM_KINDS = ("line", "shipping", "goodwill")
OPERATION_KINDS = ("authorise", "capture", "void", "refund")
#: ``flagged``: the gateway did something else than it was asked; a person decides.
OPERATION_STATUSES = ("pending", "waiting", "settled", "failed", "flagged")
MESSAGE_STATUSES = ("received", "applied", "ignored", "unmatched", "flagged")
BALANCE_KINDS = ("gift_card", "store_credit")
ENTRY_KINDS = ("issued", "redeemed", "refunded", "adjusted")


class Payment(Tracked, Base):
    """One tender of an order; the sums are the fold of its events.

    ``capturing_minor`` and ``refunding_minor`` are reserved by operations that are not settled yet.
    ``gateway_reference`` is the gateway's id of the payment, ``due_on`` when an invoice is to be
    paid, ``balance_id`` the gift card or credit that it draws on.
    """

    __tablename__ = "payments"

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    gateway: Mapped[str] = mapped_column(sa.Text)
    method: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    amount_minor: Mapped[Minor]
    authorised_minor: Mapped[Minor]
    captured_minor: Mapped[Minor]
    capturing_minor: Mapped[Minor]
    refunded_minor: Mapped[Minor]
    refunding_minor: Mapped[Minor]
    credited_minor: Mapped[Minor]
    voided_minor: Mapped[Minor]
    charged_back_minor: Mapped[Minor]
    gateway_reference: Mapped[str | None] = mapped_column(sa.Text)
    balance_id: Mapped[int | None] = mapped_column(sa.ForeignKey("balances.id"), index=True)
    due_on: Mapped[date | None] = mapped_column(sa.Date)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("method", PAYMENT_METHODS),
        sa.CheckConstraint("amount_minor >= 0", name="amount_not_negative"),
        sa.CheckConstraint(
            "captured_minor >= 0 AND voided_minor >= 0"
            " AND captured_minor + voided_minor <= amount_minor",
            name="captured_within_amount",
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND credited_minor >= 0 AND charged_back_minor >= 0"
            " AND refunded_minor + credited_minor + charged_back_minor <= captured_minor",
            name="refunded_within_captured",
        ),
        sa.CheckConstraint(
            "capturing_minor >= 0 AND refunding_minor >= 0", name="reserved_not_negative"
        ),
        sa.Index(
            "ix_payments_gateway_reference",
            "gateway_reference",
            sqlite_where=sa.text("gateway_reference IS NOT NULL"),
            postgresql_where=sa.text("gateway_reference IS NOT NULL"),
        ),
    )


class PaymentEvent(Base):
    """Something that happened to a payment; never changed, never deleted.

    ``gateway_reference`` is the gateway's id of what happened, ``target_reference`` of the capture
    that a refund gave back.
    """

    __tablename__ = "payment_events"

    id: Mapped[Id]
    payment_id: Mapped[int] = mapped_column(sa.ForeignKey("payments.id"))
    kind: Mapped[str] = mapped_column(sa.Text)
    amount_minor: Mapped[Minor]
    currency: Mapped[str] = mapped_column(sa.String(3))
    gateway_reference: Mapped[str] = mapped_column(sa.Text)
    target_reference: Mapped[str | None] = mapped_column(sa.Text)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("kind", EVENT_KINDS),
        sa.UniqueConstraint("payment_id", "kind", "gateway_reference"),
    )


class Refund(Tracked, Base):
    """Money that goes back to the customer, with the return that caused it, if one did.

    ``lowers_cost``: units of the order were cancelled, and it costs so much less.
    ``gateway_reference`` is the gateway's id of one that was made there and that nobody asked for.
    When a person next acted after such a one, ``horizon_refund_id`` was the newest refund of the
    order, ``horizon_payment_id`` its newest payment, and ``horizon_owed_minor`` what it cost: it is
    for nothing that came later.
    """

    __tablename__ = "refunds"

    id: Mapped[Id]
    payment_id: Mapped[int] = mapped_column(sa.ForeignKey("payments.id"), index=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    return_id: Mapped[int | None] = mapped_column(sa.ForeignKey("returns.id"), index=True)
    status: Mapped[str] = mapped_column(sa.Text)
    destination: Mapped[str] = mapped_column(sa.Text, server_default="original")
    reason: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    amount_minor: Mapped[Minor]
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    refunded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lowers_cost: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    gateway_reference: Mapped[str | None] = mapped_column(sa.Text)
    horizon_refund_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    horizon_payment_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    horizon_owed_minor: Mapped[int | None] = mapped_column(sa.BigInteger)

    __table_args__ = (
        one_of("status", REFUND_STATUSES),
        one_of("destination", REFUND_DESTINATIONS),
        sa.CheckConstraint("amount_minor > 0", name="amount_positive"),
        sa.CheckConstraint(
            "(status = 'settled') = (refunded_at IS NOT NULL)", name="settled_has_a_moment"
        ),
    )


class RefundItem(Tracked, Base):
    """What a refund, or a part of it, is for; the items of a refund sum to its amount.

    The items of a refund that failed do not count: the money did not go back. ``quantity`` is how
    many units of the line were meant, 0 where only an amount was.
    """

    __tablename__ = "refund_items"

    id: Mapped[Id]
    refund_id: Mapped[int] = mapped_column(sa.ForeignKey("refunds.id"), index=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    order_line_id: Mapped[int | None] = mapped_column(sa.ForeignKey("order_lines.id"), index=True)
    quantity: Mapped[Count]
    amount_minor: Mapped[Minor]

    __table_args__ = (
        one_of("kind", REFUND_ITEM_KINDS),
        sa.CheckConstraint("(kind = 'line') = (order_line_id IS NOT NULL)", name="line_is_named"),
        sa.CheckConstraint("quantity >= 0 AND amount_minor > 0", name="amount_positive"),
        # What a gateway gave back less of loses items.
        KEEPS_IDS,
    )


class PaymentOperation(Tracked, Base):
    """What is asked of a gateway: written before the call, settled after it.

    ``key`` names the row to the gateway, whose idempotency key it is: random, so that no row of a
    restored database is ever taken for another one. ``told_minor`` is what the gateway says it did
    where that is not ``amount_minor``. ``token`` stands for the customer's means of payment,
    ``action`` is what she has to do: both stay out of the feed.
    """

    __tablename__ = "payment_operations"

    id: Mapped[Id]
    payment_id: Mapped[int] = mapped_column(sa.ForeignKey("payments.id"), index=True)
    refund_id: Mapped[int | None] = mapped_column(sa.ForeignKey("refunds.id"), index=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    key: Mapped[str] = mapped_column(sa.Text, unique=True)
    amount_minor: Mapped[Minor]
    told_minor: Mapped[int | None] = mapped_column(sa.BigInteger)
    currency: Mapped[str] = mapped_column(sa.String(3))
    target: Mapped[str | None] = mapped_column(sa.Text)
    token: Mapped[str | None] = mapped_column(sa.Text)
    return_url: Mapped[str | None] = mapped_column(sa.Text)
    gateway_reference: Mapped[str | None] = mapped_column(sa.Text)
    action: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    code: Mapped[str | None] = mapped_column(sa.Text)
    problem: Mapped[str | None] = mapped_column(sa.Text)
    attempts: Mapped[Count]
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("kind", OPERATION_KINDS),
        one_of("status", OPERATION_STATUSES),
        sa.CheckConstraint("amount_minor > 0", name="amount_positive"),
        sa.Index(
            "ix_payment_operations_open",
            "id",
            sqlite_where=sa.text("status IN ('pending', 'waiting', 'flagged')"),
            postgresql_where=sa.text("status IN ('pending', 'waiting', 'flagged')"),
        ),
    )


class GatewayMessage(Base):
    """A verified message of a gateway, stored as it came before it is folded into the ledger."""

    __tablename__ = "gateway_messages"

    id: Mapped[Id]
    gateway: Mapped[str] = mapped_column(sa.Text)
    external_id: Mapped[str] = mapped_column(sa.Text)
    topic: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    payment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("payments.id"), index=True)
    attempts: Mapped[Count]
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", MESSAGE_STATUSES),
        sa.UniqueConstraint("gateway", "external_id"),
        sa.Index(
            "ix_gateway_messages_waiting",
            "id",
            sqlite_where=sa.text("status IN ('received', 'unmatched')"),
            postgresql_where=sa.text("status IN ('received', 'unmatched')"),
        ),
    )


class Balance(Tracked, Base):
    """A gift card, known by the hash of its code, or a customer's store credit."""

    __tablename__ = "balances"

    id: Mapped[Id]
    number: Mapped[str] = numbered("BA")
    kind: Mapped[str] = mapped_column(sa.Text)
    customer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customers.id"), index=True)
    code_hash: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    code_end: Mapped[str | None] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    balance_minor: Mapped[Minor]
    expires_on: Mapped[date | None] = mapped_column(sa.Date)
    is_active: Mapped[bool] = mapped_column(default=True, server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("kind", BALANCE_KINDS),
        sa.CheckConstraint("balance_minor >= 0", name="never_negative"),
        sa.CheckConstraint("(kind = 'gift_card') = (code_hash IS NOT NULL)", name="card_has_code"),
        sa.CheckConstraint(
            "kind = 'gift_card' OR customer_id IS NOT NULL", name="credit_has_owner"
        ),
        # A customer has one credit a currency.
        sa.Index(
            "uq_balances_credit",
            "customer_id",
            "currency",
            unique=True,
            sqlite_where=sa.text("kind = 'store_credit'"),
            postgresql_where=sa.text("kind = 'store_credit'"),
        ),
    )


class BalanceEntry(Base):
    """A change of a balance, in signed minor units; never changed, never deleted."""

    __tablename__ = "balance_entries"

    id: Mapped[Id]
    balance_id: Mapped[int] = mapped_column(sa.ForeignKey("balances.id"), index=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    amount_minor: Mapped[int] = mapped_column(sa.BigInteger)
    payment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("payments.id"))
    refund_id: Mapped[int | None] = mapped_column(sa.ForeignKey("refunds.id"))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("kind", ENTRY_KINDS),
        sa.CheckConstraint("amount_minor <> 0", name="amount_not_zero"),
    )
