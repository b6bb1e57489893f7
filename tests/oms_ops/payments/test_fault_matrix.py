"""Whatever goes wrong with whatever call: after recovery our ledger and the gateway's agree.

Every fault is tried with every operation, with webhooks that come before the worker has recovered,
with webhooks that come after, and with none at all. Webhooks come twice and in a mixed order.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from oms_ops.database import reading, run
from oms_ops.orders import collecting, remedies, uncollected
from oms_ops.payments import attention, messages, operations
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.payments.gateways.fake import FAULTS
from oms_ops.payments.gateways.registry import gateway
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, sent
from tests.oms_ops.shop import CLERK, Shop

AMOUNT = 398
#: Operation -> its kind at the gateway and its minor units.
OPERATIONS = {
    "authorise": ("authorise", AMOUNT),
    "capture": ("capture", AMOUNT),
    "partial capture": ("capture", 150),
    "void": ("void", AMOUNT),
    "refund": ("refund", AMOUNT),
    "partial refund": ("refund", 100),
}
#: One after the other, at the same operation.
TOGETHER = (("lost_before", "lost_after"), ("error_500", "refused", "garbled"))
WEBHOOKS = ("before recovery", "after recovery", "never")


@dataclass(frozen=True)
class Cell:
    """One payment with which something goes wrong."""

    operation: str
    faults: tuple[str, ...]
    webhooks: str
    payment_id: int

    @property
    def kind(self) -> str:
        return OPERATIONS[self.operation][0]

    @property
    def amount(self) -> int:
        """What is done in the end."""
        return OPERATIONS[self.operation][1] - ("wrong_amount" in self.faults)


@pytest.fixture
def cells(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> tuple[Till, list[Cell]]:
    """Return a payment for each combination, as far as it is before its operation."""
    monkeypatch.setenv("OMS_FAKE_SLOW_MILLISECONDS", "10")
    till = Till(shop)
    assert gateway("fake") is till.fake
    shop.stock("SKU-1", 1000)
    faults = [*((fault,) for fault in FAULTS), *TOGETHER]
    combinations = list(itertools.product(OPERATIONS, faults, WEBHOOKS))
    made = [
        Cell(*combination, till.payment(till.sell(("SKU-1", 2), stock=1)))
        for combination in combinations
    ]
    authorised = [cell.payment_id for cell in made if cell.kind != "authorise"]
    run(till.engine, lambda c: [operations.authorise(c, CLERK, i, token="t") for i in authorised])
    collecting.perform(till.engine)
    captured = [cell.payment_id for cell in made if cell.kind == "refund"]
    run(till.engine, lambda c: payments.capture(c, CLERK, captured))
    collecting.perform(till.engine)
    return till, made


def ask(till: Till, cell: Cell) -> None:
    """Ask for the operation of a cell, and let it go wrong."""
    payment_id, amount = cell.payment_id, OPERATIONS[cell.operation][1]
    engine = till.engine
    if cell.kind == "authorise":
        run(engine, lambda c: operations.authorise(c, CLERK, payment_id, token="tok_1"))
    elif cell.kind == "capture":
        run(engine, lambda c: payments.capture(c, CLERK, [payment_id], amount))
    elif cell.kind == "void":
        run(engine, lambda c: payments.void(c, CLERK, [payment_id]))
    else:
        request = RefundRequest(payment_id, amount, "x")
        run(engine, lambda c: payments.refund(c, CLERK, [request]))
    for hours, fault in enumerate(cell.faults):
        till.fake.break_next(cell.kind, fault)
        with till.later(hours=2 * hours):
            collecting.perform(engine, payment_ids=[payment_id])


def deliver(till: Till, cells: Iterable[Cell], dice: random.Random) -> None:
    """Bring the messages of payments twice each, one of them as another message, and mixed."""
    keys = {
        row[0]
        for cell in cells
        for row in till.shop.rows(
            "SELECT key FROM payment_operations WHERE payment_id = :i", i=cell.payment_id
        )
    }
    mine = [
        (event_id, body)
        for event_id, body in sent(till.fake)
        if any(key.encode() in body for key in keys)
    ]
    several = [*mine, *mine, *((f"{event_id}-again", body) for event_id, body in mine)]
    dice.shuffle(several)
    for event_id, body in several:
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))
    collecting.hear(till.engine)


def recover(till: Till) -> None:
    """Let the worker have its turns, and a person do what is left to her."""
    for hours in (8, 16):
        with till.later(hours=hours):
            collecting.hear(till.engine)
            collecting.perform(till.engine)
    with reading(till.engine) as connection:
        listed = uncollected.listing(connection, CLERK)
    for each in listed:
        if operation_id := each["operation"]:
            act = remedies.accept if "accept" in each["can"] else remedies.retry
            run(till.engine, lambda c, a=act, i=operation_id: a(c, CLERK, i))
    with till.later(hours=20):
        collecting.perform(till.engine)


def authorise_again(till: Till, cells: list[Cell]) -> None:
    """Let customers whose card was declined try again."""
    again = [c.payment_id for c in cells if (c.kind, c.faults) == ("authorise", ("declined",))]
    run(till.engine, lambda c: [operations.authorise(c, CLERK, i, token="t2") for i in again])
    collecting.perform(till.engine)


def dismiss_messages(till: Till, cells: list[Cell]) -> int:
    """Put aside what told another amount than was asked: a person has accepted it by now."""
    wrong = {cell.payment_id for cell in cells if "wrong_amount" in cell.faults}
    rows = till.shop.rows("SELECT id, payment_id FROM gateway_messages WHERE status = 'flagged'")
    assert {row.payment_id for row in rows} <= wrong
    for row in rows:
        run(till.engine, lambda c, i=row.id: attention.dismiss_message(c, CLERK, i))
    return len(rows)


def test_after_every_fault_both_ledgers_agree(cells: tuple[Till, list[Cell]]) -> None:
    till, made = cells
    dice = random.Random(11)
    dice.shuffle(made)
    for cell in made:
        ask(till, cell)
    deliver(till, [cell for cell in made if cell.webhooks == "before recovery"], dice)
    recover(till)
    authorise_again(till, made)
    deliver(till, [cell for cell in made if cell.webhooks == "after recovery"], dice)
    dismiss_messages(till, made)

    assert differences(till.shop, till.fake) == []
    _done_once_and_all_of_it(till, made)
    with reading(till.engine) as connection:
        assert uncollected.listing(connection, CLERK) == []
    _count(till, made)


def _done_once_and_all_of_it(till: Till, made: list[Cell]) -> None:
    with till.fake.books() as books:
        rows = books.execute("SELECT key, kind, amount FROM acts").fetchall()
    payment_of = dict(till.shop.rows("SELECT key, payment_id FROM payment_operations"))
    done: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        done.setdefault((payment_of[row["key"]], row["kind"]), []).append(row["amount"])
    wrong = {
        cell: found
        for cell in made
        if (found := done.get((cell.payment_id, cell.kind))) != [cell.amount]
    }
    assert wrong == {}
    left = till.shop.rows(
        "SELECT kind, status FROM payment_operations WHERE status NOT IN ('settled', 'failed')"
        " UNION ALL SELECT topic, status FROM gateway_messages"
        " WHERE status NOT IN ('applied', 'ignored')"
    )
    assert left == []
    reserved = till.shop.rows("SELECT count(*) FROM payments WHERE capturing_minor"
                              " + refunding_minor > 0")  # fmt: skip
    assert reserved[0][0] == 0


def _count(till: Till, made: list[Cell]) -> None:
    with till.fake.books() as books:
        rows = books.execute("SELECT kind, what FROM calls WHERE what IS NOT NULL").fetchall()
        assert books.execute("SELECT count(*) FROM faults").fetchone()[0] == 0
    tried = Counter(row["what"] for row in rows)
    planned = Counter(fault for cell in made for fault in cell.faults)
    assert tried == planned, "a fault was not met"
    print(f"{len(made)} payments, {sum(tried.values())} faults: {dict(sorted(tried.items()))}")
