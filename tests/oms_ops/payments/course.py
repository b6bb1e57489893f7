"""An order whose money comes and goes in every way, beside the books of those who moved it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, OmsError
from oms_ops.orders import collecting, outstanding, queries, remedies, tenders, uncollected
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.capture import capture
from oms_ops.orders.units import CancelledUnits
from oms_ops.payments import commands as payments
from oms_ops.payments import messages, operations
from oms_ops.payments.refunds import RefundRequest
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import sent
from tests.oms_ops.returns.desk import Desk as Returns
from tests.oms_ops.shop import CLERK, order

PAID = (600, 793)
#: As large as what a gateway gives back can be.
_MOST = 10**6
#: What becomes of the next refunds: most are declined, as what follows is about those.
FAULTS = (
    ("declined",), ("declined", "declined"), ("lost_before",), ("declined", "lost_before"),
    ("lost_after",), ("wrong_amount",), ("waiting",), ("declined",), ("declined",), (),
)  # fmt: skip


class Course:
    """An order paid by two cards: a part has left and may come back, the rest may be cancelled.

    What has truly gone back stands in the gateway's books and in ``bank``; people here only do what
    the list tells them to, and tell what they did; or they give what nobody asked them for
    (``gifts``). If nothing ``has_left`` yet, the order may be cancelled whole.
    """

    def __init__(self, till: Till, *, has_left: bool = True) -> None:
        self.till, self.shop = till, till.shop
        self.start, self.hours = clock.now(), 0
        with till.fake.books() as books:
            books.execute("DELETE FROM faults")
        self.shop.stock("SKU-1", 3, "ATL")
        self.shop.stock("SKU-2", 2, "NYC")
        wanted = order(("SKU-1", 3), ("SKU-2", 2), allow_split=True, payment=None)
        self.order_id = queries.id_of(capture(till.engine, CLERK, wanted)["number"], "SO")
        self.cards = [self.pay(amount) for amount in PAID]
        rows = self.shop.rows(
            "SELECT w.code FROM shipments AS s JOIN warehouses AS w ON w.id = s.warehouse_id"
            " WHERE s.order_id = :i ORDER BY s.id",
            i=self.order_id,
        )
        if has_left:
            till.ship(self.order_id, [row[0] for row in rows].index("ATL"))
        self.work()
        self.heard = len(sent(till.fake))
        self.bank = 0
        #: What went twice since the gateway did what it had said it would not: a person is told.
        self.late = 0
        #: Good will made on the gateway's pages; and of it what was made when nothing was open.
        self.gifts, self.plain_gifts = 0, 0
        self.on_pages = dict.fromkeys(self.cards, 0)
        self.twice = dict.fromkeys(self.cards, 0)
        self.charged_back: dict[int, int] = {}

    def do(self, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Do something in a transaction, now; what is refused does nothing."""
        with self.now(), suppress(OmsError):
            return run(self.till.engine, lambda c: work(c, CLERK, *given, **named))

    def now(self) -> Any:
        return clock.at(self.start + timedelta(hours=self.hours))

    def pay(self, amount: int) -> int:
        engine = self.till.engine
        card = run(engine, lambda c: tenders.add(c, CLERK, self.order_id, "card", amount))
        run(engine, lambda c: operations.authorise(c, CLERK, card, token="tok"))
        self.work()
        run(engine, lambda c: payments.capture(c, CLERK, [card]))
        self.work()
        return card

    def work(self) -> None:
        with self.now():
            collecting.perform(self.till.engine)

    def listed(self, *kinds: str) -> list[dict[str, Any]]:
        with self.now(), reading(self.till.engine) as connection:
            found = uncollected.listing(connection, CLERK)
        name = f"SO-{10_000_000 + self.order_id}"
        return [each for each in found if each["order"] == name and each["kind"] in kinds]

    def failed(self) -> list[dict[str, Any]]:
        """Return what a person sees and acts on: where it can be acted on."""
        return [
            each
            for each in self.listed("refund_failed")
            if each["can"] and self.is_claim(each["operation"])
        ]

    def is_claim(self, operation: int) -> bool:
        rows = self.shop.rows(
            "SELECT count(*) FROM payment_operations AS x JOIN refunds AS f ON f.id = x.refund_id"
            " WHERE x.id = :i AND (f.lowers_cost OR f.return_id IS NOT NULL)",
            i=operation,
        )
        return bool(rows[0][0])

    # What happens at the gateway.

    def reference(self, card: int) -> str:
        rows = self.shop.rows("SELECT gateway_reference FROM payments WHERE id = :i", i=card)
        return str(rows[0][0])

    def paid(self, card: int) -> int:
        """Return what the gateway collected of a card, but for what it collected twice."""
        with self.till.fake.books() as books:
            row = books.execute(
                "SELECT coalesce(sum(amount), 0) FROM acts WHERE kind = 'capture' AND payment = ?"
                " AND target <> 'twice'",
                (self.reference(card),),
            ).fetchone()
        return int(row[0])

    def captures(self, card: int) -> list[tuple[str, int]]:
        """Return the captures of a card in the gateway's books, and what each has left."""
        with self.till.fake.books() as books:
            rows = books.execute(
                "SELECT reference, amount - (SELECT coalesce(sum(r.amount), 0) FROM acts AS r"
                " WHERE r.kind = 'refund' AND r.target = acts.reference) FROM acts"
                " WHERE kind = 'capture' AND payment = ? ORDER BY rowid",
                (self.reference(card),),
            ).fetchall()
        return [(row[0], row[1]) for row in rows]

    def act(self, card: int, kind: str, target: str, amount: int, key: str | None = None) -> None:
        """Let the gateway do something that nobody asks it for now, and send word of it."""
        payment = self.reference(card)
        with self.till.fake.books() as books:
            number = books.execute("SELECT count(*) FROM acts").fetchone()[0] + 1
            reference = f"f{kind[0]}_{number}"
            books.execute(
                "INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?, 'USD', 'done')",
                (key or f"page-{number}", kind, payment, reference, target, amount),
            )
            told = {"capture": "captured", "refund": "refunded"}[kind]
            self.till.fake.send(books, kind=told, key=key, payment=payment, reference=reference,
                                target=target, amount=amount, currency="USD")  # fmt: skip

    def bank_says(self, card: int, kind: str, amount: int) -> None:
        with self.till.fake.books() as books:
            self.till.fake.send(books, kind=kind, payment=self.reference(card),
                                reference=f"fd_{card}_{self.heard}", amount=amount,
                                currency="USD")  # fmt: skip

    # What may happen, each with two numbers that say of what and how much.

    def fault(self, what: int, _: int = 0) -> None:
        self.till.fake.break_next("refund", *FAULTS[what % len(FAULTS)])

    def cancel(self, what: int, _: int) -> None:
        self.fault(what)
        self.do(cancel_units, [CancelledUnits(self.order_id, 2, 1)], "x")
        self.work()

    def cancel_whole(self, what: int, _: int) -> None:
        self.fault(what)
        self.do(cancel, [self.order_id], "x")
        self.work()

    def take_back(self, what: int, _: int) -> None:
        self.fault(what)
        with self.now(), suppress(OmsError):
            Returns(self.shop).back(self.order_id, Asked(1, 1, "damaged"))
        self.work()

    def resolve(self, what: int, _: int) -> None:
        self.fault(what)
        rows = self.shop.rows(
            "SELECT id FROM returns WHERE order_id = :i AND status = 'refund_failed'",
            i=self.order_id,
        )
        for row in rows:
            with self.now(), suppress(OmsError):
                Returns(self.shop).resolve(row[0])
        self.work()

    def post(self, place: int, amount: int) -> None:
        request = RefundRequest(self.cards[place % len(self.cards)], amount, "posted")
        self.do(outstanding.refund, self.order_id, request, currency="USD")
        self.work()

    def pages(self, place: int, amount: int) -> None:
        """Somebody refunds on the gateway's pages what the list says, or a part of it."""
        for each in self.failed()[:1]:
            due = round(float(each["amount"]) * 100)
            self.refund_there(self.cards[place % len(self.cards)], min(due, amount))
            self.deliver(place, 0)

    def give(self, place: int, amount: int) -> None:
        """Somebody gives good will on the gateway's pages."""
        card = self.cards[place % len(self.cards)]
        if any(self.twice.values()):
            return
        given = self.refund_there(card, amount)
        self.gifts += given
        if not self.is_open():
            self.plain_gifts += given
        self.deliver(place, 0)

    def is_open(self) -> bool:
        """Tell whether anything is asked, told and not heard, or to go back."""
        self.deliver(0, 0)
        rows = self.shop.rows(
            "SELECT (SELECT count(*) FROM payment_operations AS x JOIN payments AS p"
            "  ON p.id = x.payment_id WHERE p.order_id = :i"
            "  AND x.status IN ('pending', 'waiting', 'flagged'))"
            " + (SELECT count(*) FROM refunds WHERE order_id = :i AND status = 'failed')"
            " + (SELECT count(*) FROM payment_events AS e JOIN payments AS p"
            "  ON p.id = e.payment_id WHERE p.order_id = :i AND e.kind = 'charged_back')",
            i=self.order_id,
        )
        return bool(rows[0][0] or self.listed("refund_missing", "message_flagged"))

    def count(self, place: int, _: int) -> None:
        """A person counts what waits as made on the gateway's pages, whatever it was."""
        rows = self.shop.rows(
            "SELECT m.id FROM gateway_messages AS m JOIN payments AS p ON p.id = m.payment_id"
            " WHERE p.order_id = :i AND m.status = 'unmatched' ORDER BY m.id",
            i=self.order_id,
        )
        if rows:
            self.do(remedies.count_message, rows[place % len(rows)][0])
            self.work()

    def tell_without_key(self, _: int, __: int) -> None:
        """What the gateway did lately it tells without the key that it was asked under."""
        with self.till.fake.books() as books:
            books.execute(
                "UPDATE events SET body = replace(body, '\"key\"', '\"unknown\"') WHERE id IN"
                " (SELECT id FROM events ORDER BY id LIMIT ? OFFSET ?)",
                (_MOST, self.heard),
            )

    def pay_again(self, place: int, amount: int) -> None:
        """A person adds a payment for what a bank took back."""
        if not any(self.charged_back.values()):
            return
        with self.now(), suppress(OmsError):
            self.cards.append(self.pay(amount))
            self.on_pages[self.cards[-1]] = self.twice[self.cards[-1]] = 0

    def refund_there(self, card: int, amount: int) -> int:
        rest = amount
        for reference, room in self.captures(card):
            if part := min(room, rest):
                rest -= part
                self.on_pages[card] += part
                self.act(card, "refund", reference, part)
        return amount - rest

    def capture_twice(self, place: int, amount: int) -> None:
        card = self.cards[place % len(self.cards)]
        self.twice[card] += amount
        self.act(card, "capture", "twice", amount)

    def undo(self, place: int, seed: int) -> None:
        card = self.cards[place % len(self.cards)]
        if rest := max(0, self.twice[card] - self.on_pages[card]):
            self.refund_there(card, rest)
            self.deliver(seed, 0)

    def retry(self, place: int, _: int) -> None:
        if found := self.failed():
            self.do(remedies.retry, found[place % len(found)]["operation"])
            self.work()

    def transfer(self, place: int, in_dispute: int) -> None:
        """A person pays what the list says by bank, and says so; perhaps after a charge back."""
        if not (found := self.failed()):
            return
        chosen = found[place % len(found)]
        if in_dispute % 2 and not self.charged_back:
            for index in range(len(self.cards)):
                self.charge_back(index, _MOST)
            self.deliver(place, 0)
        amount = round(float(chosen["amount"]) * 100)
        self.bank += amount
        try:
            with self.now():
                run(
                    self.till.engine,
                    lambda c: remedies.dismiss(c, CLERK, chosen["operation"], amount),
                )
        except Conflict:
            # She is told that it was done after all.
            self.late += amount

    def after_all(self, place: int, _: int) -> None:
        """The gateway did what it had said that it declined."""
        rows = self.shop.rows(
            "SELECT x.payment_id, x.key, x.target, x.amount_minor FROM payment_operations AS x"
            " JOIN payments AS p ON p.id = x.payment_id WHERE p.order_id = :i"
            " AND x.kind = 'refund' AND x.status = 'failed' ORDER BY x.id",
            i=self.order_id,
        )
        with self.till.fake.books() as books:
            known = {row[0] for row in books.execute("SELECT key FROM acts").fetchall()}
        rows = [row for row in rows if row.key not in known]
        if rows:
            row = rows[place % len(rows)]
            if dict(self.captures(row.payment_id)).get(row.target, 0) >= row.amount_minor:
                self.late += row.amount_minor
                self.act(row.payment_id, "refund", row.target, row.amount_minor, row.key)

    def charge_back(self, place: int, amount: int) -> None:
        card = self.cards[place % len(self.cards)]
        if card not in self.charged_back:
            self.charged_back[card] = min(amount, self.paid(card))
            self.bank_says(card, "charged_back", self.charged_back[card])

    def win(self, place: int, _: int) -> None:
        card = self.cards[place % len(self.cards)]
        if amount := self.charged_back.get(card):
            self.charged_back[card] = 0
            self.bank_says(card, "charge_back_reversed", amount)

    def wait(self, hours: int, _: int) -> None:
        self.hours += hours % 4
        self.work()

    def deliver(self, seed: int, _: int) -> None:
        """Bring all that the gateway has sent since, in any order, and some of it twice."""
        dice = random.Random(seed)
        news = sent(self.till.fake)
        mine = news[self.heard :] + ([dice.choice(news)] if news else [])
        self.heard = len(news)
        dice.shuffle(mine)
        with self.now():
            for event_id, body in mine:
                messages.receive(self.till.engine, "fake", *self.till.fake.signed(event_id, body))
            collecting.hear(self.till.engine)

    # What is so in the end.

    def end(self, seed: int) -> None:
        """Let all be told and answered, and every dispute be won."""
        for place in range(len(self.cards)):
            self.win(place, 0)
        with self.till.fake.books() as books:
            books.execute("DELETE FROM faults")
        for turn in range(6):
            self.deliver(seed + turn, 0)
            self.hours += 7
            self.work()
            for each in self.listed("operation_flagged"):
                self.do(remedies.accept, each["operation"])
            self.work()
        assert self.shop.rows(
            "SELECT x.id, x.kind, x.status FROM payment_operations AS x JOIN payments AS p"
            " ON p.id = x.payment_id WHERE p.order_id = :i"
            " AND x.status IN ('pending', 'waiting', 'flagged')",
            i=self.order_id,
        ) == []  # fmt: skip

    def check(self) -> None:
        """Compare what has gone back with what was to, and with what is shown."""
        with reading(self.till.engine) as connection:
            cost = tenders.owed(connection, [self.order_id])[self.order_id]
        returned, posted = self.shop.rows(
            "SELECT (SELECT coalesce(sum(refund_minor), 0) FROM returns WHERE order_id = :i),"
            " (SELECT coalesce(sum(amount_minor), 0) FROM refunds WHERE order_id = :i"
            "  AND reason = 'posted' AND status = 'settled' AND NOT lowers_cost"
            "  AND return_id IS NULL)",
            i=self.order_id,
        )[0]
        paid = sum(self.paid(card) for card in self.cards)
        to_go_back = paid - cost + int(returned) + int(posted)
        shown = sum(
            round(float(each["amount"]) * 100)
            for each in self.listed("refund_failed", "refund_missing")
            if each["operation"] is None or self.is_claim(each["operation"])
        )
        with self.till.fake.books() as books:
            there = sum(
                books.execute(
                    "SELECT coalesce(sum(amount), 0) FROM acts WHERE kind = 'refund'"
                    " AND payment = ?",
                    (self.reference(card),),
                ).fetchone()[0]
                for card in self.cards
            )
        undone = sum(min(self.on_pages[card], self.twice[card]) for card in self.cards)
        gone = there + self.bank - undone
        told = (to_go_back, gone, shown, self.late, self.bank, undone, self.gifts, self.plain_gifts)
        # What was given for another reason is not there to go back; a gift that gave back what was
        # collected twice was none.
        least = min(to_go_back + max(0, self.plain_gifts - undone), paid) - shown
        assert least <= gone <= to_go_back - shown + self.late + self.gifts, told
