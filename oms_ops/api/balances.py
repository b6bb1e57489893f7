"""Routes of gift cards and store credit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from sqlalchemy.engine import Connection

from oms_ops.access.actor import BALANCES_WRITE, PAYMENTS_READ
from oms_ops.api.money_bodies import (
    AdjustBody,
    CodeBody,
    CreditAdjustBody,
    CreditBody,
    GiftCardBody,
    minor,
)
from oms_ops.api.once import IdempotencyKey, once
from oms_ops.api.parts import Caller, Database
from oms_ops.customers.tables import Customer
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.payments import balances

router = APIRouter(tags=["gift cards and credit"])


@router.post("/gift-cards", status_code=201)
def issue_gift_card(
    engine: Database, actor: Caller, body: GiftCardBody, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Issue a gift card; ``code`` is told this once, and not in the answer to a repeat either."""
    actor.require(BALANCES_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        customer = None if body.customer is None else _customer(connection, body.customer)
        if body.customer is not None and customer is None:
            fault = FieldError("customer", "unknown", "nobody with this address has ordered")
            raise ValidationFailed("The gift card has bad fields.", [fault])
        issued = balances.issue_card(
            connection, actor, body.currency, minor(body.amount, body.currency),
            customer_id=customer, expires_on=body.expires_on, reason=body.reason,
        )  # fmt: skip
        card = balances.by_id(connection, issued.id)
        return {**balances.shown(card), "code": issued.code}

    asked = ("gift-cards", body.model_dump(mode="json"))
    return once(
        engine, actor, idempotency_key, asked, work, kept=lambda answer: {**answer, "code": None}
    )


@router.post("/gift-cards/balance")
def gift_card_balance(engine: Database, actor: Caller, body: CodeBody) -> dict[str, Any]:
    """Show what is on the gift card of a code."""
    actor.require(PAYMENTS_READ)
    with reading(engine) as connection:
        return balances.shown(balances.find_card(connection, body.code))


@router.get("/gift-cards/{number}")
def get_gift_card(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show a gift card by its number, with its entries."""
    with reading(engine) as connection:
        return _with_entries(connection, balances.by_number(connection, actor, number))


@router.post("/gift-cards/{number}/adjust")
def adjust_gift_card(
    engine: Database,
    actor: Caller,
    number: str,
    body: AdjustBody,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Correct what is on a gift card, up or down; never below zero."""

    def work(connection: Connection) -> dict[str, Any]:
        card = balances.by_number(connection, actor, number)
        amount = minor(body.amount, card["currency"], signed=True)
        balances.adjust(connection, actor, card["id"], amount, body.reason)
        return _with_entries(connection, balances.by_id(connection, card["id"]))

    asked = (f"gift-cards/{number}/adjust", body.model_dump(mode="json"))
    return once(engine, actor, idempotency_key, asked, work)


@router.post("/gift-cards/{number}/close")
def close_gift_card(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Let a gift card pay nothing any more."""

    def work(connection: Connection) -> dict[str, Any]:
        card = balances.by_number(connection, actor, number)
        balances.close(connection, actor, card["id"])
        return _with_entries(connection, balances.by_id(connection, card["id"]))

    return run(engine, work)


@router.post("/gift-cards/{number}/reopen")
def reopen_gift_card(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Let a closed gift card pay again."""

    def work(connection: Connection) -> dict[str, Any]:
        card = balances.by_number(connection, actor, number)
        balances.reopen(connection, actor, card["id"])
        return _with_entries(connection, balances.by_id(connection, card["id"]))

    return run(engine, work)


@router.get("/customers/{email}/credit")
def get_credit(engine: Database, actor: Caller, email: str) -> dict[str, Any]:
    """Show the store credit of a customer, one balance a currency, with its entries."""
    actor.require(PAYMENTS_READ)
    with reading(engine) as connection:
        return _credits(connection, email)


@router.post("/customers/{email}/credit", status_code=201)
def issue_credit(
    engine: Database,
    actor: Caller,
    email: str,
    body: CreditBody,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Give a customer store credit, and tell her."""
    actor.require(BALANCES_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        customer = _known(connection, email)
        amount = minor(body.amount, body.currency)
        balances.issue_credit(connection, actor, customer, body.currency, amount, body.reason)
        return _credits(connection, email)

    asked = (f"customers/{email}/credit", body.model_dump(mode="json"))
    return once(engine, actor, idempotency_key, asked, work)


@router.post("/customers/{email}/credit/adjust")
def adjust_credit(
    engine: Database,
    actor: Caller,
    email: str,
    body: CreditAdjustBody,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Correct a customer's store credit, up or down; never below zero."""
    actor.require(BALANCES_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        found = balances.credits_of(connection, _known(connection, email))
        credit = [each for each in found if each["currency"] == body.currency]
        if not credit:
            raise Conflict("The customer has no store credit in this currency.")
        amount = minor(body.amount, body.currency, signed=True)
        balances.adjust(connection, actor, credit[0]["id"], amount, body.reason)
        return _credits(connection, email)

    asked = (f"customers/{email}/credit/adjust", body.model_dump(mode="json"))
    return once(engine, actor, idempotency_key, asked, work)


def _customer(connection: Connection, email: str) -> int | None:
    found = connection.scalar(sa.select(Customer.id).where(Customer.email == email.lower()))
    return None if found is None else int(found)


def _known(connection: Connection, email: str) -> int:
    customer = _customer(connection, email)
    if customer is None:
        raise NotFound("There is no customer with this address.")
    return customer


def _credits(connection: Connection, email: str) -> dict[str, Any]:
    found = balances.credits_of(connection, _known(connection, email))
    return {
        "customer": email.lower(),
        "credits": [_with_entries(connection, credit) for credit in found],
    }


def _with_entries(connection: Connection, balance: dict[str, Any]) -> dict[str, Any]:
    entries = balances.entries(connection, balance["id"])
    return {
        **balances.shown(balance),
        "entries": [balances.shown_entry(entry, balance["currency"]) for entry in entries],
    }
