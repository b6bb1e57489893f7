"""The commands of a sale: captures, changes, money and what comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.money import to_text
from oms_ops.orders import amendment, cancellation, drafts, holds, tenders
from oms_ops.orders.capture import capture
from oms_ops.orders.units import CancelledUnits
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.machine import selling
from tests.oms_ops.machine.base import Base, skus, units
from tests.oms_ops.machine.model import WAREHOUSES, Order
from tests.oms_ops.machine.money import AMOUNT_CODE, PERCENT_CODE, Wanted
from tests.oms_ops.machine.selling import Change, Submission
from tests.oms_ops.shop import CLERK, order

wanted_lines = st.builds(
    lambda sku, quantity, discount, odd: Wanted(
        sku, quantity, discount, quantity * 101 + odd if odd is not None else None
    ),
    skus, units, st.sampled_from([0, 0, 7, 50]), st.none() | st.integers(-3, 3),
)  # fmt: skip
submissions = st.builds(
    Submission,
    lines=st.lists(wanted_lines, min_size=1, max_size=3).map(tuple),
    region=st.sampled_from(["GA", "NY"]),
    code=st.sampled_from([None, None, PERCENT_CODE, AMOUNT_CODE]),
    included=st.booleans(),
    backorder=st.booleans(),
    split=st.booleans(),
    complete=st.booleans(),
    pays=st.booleans(),
    warehouse=st.sampled_from([None, None, *WAREHOUSES]),
    basket=st.sampled_from([None, "mary", "bob"]),
)

_PLACES = {
    "GA": {"city": "Atlanta", "region": "GA", "postal_code": "30301"},
    "NY": {"city": "New York", "region": "NY", "postal_code": "10001"},
}


def document(wanted: Submission) -> dict[str, Any]:
    """Return a submission as callers send it."""
    body = order(
        tax_included=wanted.included, allow_backorder=wanted.backorder, allow_split=wanted.split,
        ship_complete=wanted.complete, warehouse=wanted.warehouse, basket=wanted.basket,
        discount_codes=[wanted.code] if wanted.code else [],
    )  # fmt: skip
    body["ship_to"] |= _PLACES[wanted.region]
    body["lines"] = [
        {
            "sku": line.sku,
            "quantity": line.quantity,
            "discount": to_text(line.discount, "USD"),
            "amount": None if line.stated is None else to_text(line.stated, "USD"),
        }
        for line in wanted.lines
    ]
    return body if wanted.pays else {**body, "payment": None}


class Sales(Base):
    """What clerks and customers do."""

    # --- Orders -----------------------------------------------------------------------------

    def sell(self, wanted: Submission) -> None:
        body = document(wanted)
        self.step(selling.capture, wanted, do=lambda: capture(self.engine, CLERK, body))

    # Several rules: most of the others wait for an order.
    @initialize(wanted=submissions)
    def begins_with_an_order(self, wanted: Submission) -> None:
        self.sell(wanted)

    @rule(wanted=submissions)
    def captures(self, wanted: Submission) -> None:
        self.sell(wanted)

    @rule(wanted=submissions, sku=skus, quantities=st.tuples(units, units))
    def captures_one_sku_twice(
        self, wanted: Submission, sku: str, quantities: tuple[int, int]
    ) -> None:
        lines = tuple(Wanted(sku, quantity) for quantity in quantities)
        self.sell(replace(wanted, lines=lines))

    @rule(wanted=submissions)
    def captures_more_than_there_is(self, wanted: Submission) -> None:
        lines = tuple(replace(line, quantity=line.quantity + 6) for line in wanted.lines)
        self.sell(replace(wanted, lines=lines, backorder=True))

    @rule(wanted=submissions, edited=st.booleans(), kept=st.booleans())
    def places_a_draft(self, wanted: Submission, edited: bool, kept: bool) -> None:
        body = document(wanted)
        first = {"lines": []} if edited else body
        made = run(self.engine, lambda c: drafts.create(c, CLERK, first))
        number = made["number"]
        if edited:
            run(self.engine, lambda c: drafts.edit(c, CLERK, number, body, made["version"]))
        if not kept:
            seen = run(self.engine, lambda c: drafts.get(c, CLERK, number))
            run(self.engine, lambda c: drafts.discard(c, CLERK, number, seen["version"]))
            with pytest.raises(Conflict):
                drafts.place(self.engine, CLERK, number)
            self.check()
            return
        answers: list[str] = []
        do = lambda: answers.append(drafts.place(self.engine, CLERK, number)["number"])  # noqa: E731
        self.step(selling.capture, wanted, do=do)
        if answers:
            # Placed again it is the same order: the model hears nothing of it.
            assert drafts.place(self.engine, CLERK, number)["number"] == answers[0]
            self.check()

    def live(self) -> list[Order]:
        return [each for each in self.model.orders.values() if each.is_live]

    def pick(self, data: Any, chosen: Any = None) -> Order:
        return data.draw(st.sampled_from(chosen or list(self.model.orders.values())))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def cancels(self, data: Any) -> None:
        each = self.pick(data, self.live())
        do = self.service(cancellation.cancel, [each.id], "no more")
        self.step(selling.cancel, each, do=do)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), quantity=units)
    def cancels_units(self, data: Any, quantity: int) -> None:
        each = self.pick(data, self.live())
        self.drop(each, data.draw(st.sampled_from(sorted(each.lines))), quantity)

    def drop(self, each: Order, no: int, quantity: int) -> None:
        wanted = [CancelledUnits(each.id, no, quantity)]
        do = self.service(cancellation.cancel_units, wanted, "less")
        self.step(selling.cancel_units, each, no, quantity, do=do)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), pays=st.booleans())
    def amends(self, data: Any, pays: bool) -> None:
        each = self.pick(data, self.live())
        numbers = data.draw(st.lists(st.sampled_from([None, *sorted(each.lines)]), min_size=1,
                                     max_size=2, unique=True))  # fmt: skip
        changes = [
            Change(None, data.draw(skus), data.draw(units))
            if no is None
            else Change(no, each.lines[no].sku, data.draw(st.integers(0, 8)))
            for no in numbers
        ]
        self.amend(each, changes, pays=pays)

    def amend(self, each: Order, changes: list[Change], *, pays: bool) -> None:
        lines = [
            {"sku": c.sku, "quantity": c.units} if c.no is None
            else {"line_no": c.no, "quantity": c.units}
            for c in changes
        ]  # fmt: skip
        body = {"lines": lines, "payment": {"method": "card"} if pays else None}
        number = f"SO-{10_000_000 + each.id}"
        do = lambda: amendment.amend(self.engine, CLERK, number, body)  # noqa: E731
        self.step(selling.amend, each, changes, do=do, pays=pays)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def holds_or_releases(self, data: Any) -> None:
        waiting = [o for o in self.live() if any(li.backordered for li in o.lines.values())]
        each = self.pick(data, waiting + self.live())
        self.hold_or_release(each)

    def hold_or_release(self, each: Order) -> None:
        if each.status == "open":
            self.step(selling.hold, each, do=self.service(holds.hold, [each.id], "check"))
        else:
            self.step(selling.release, each, do=self.service(holds.release, [each.id]))

    # --- Money ------------------------------------------------------------------------------

    def paying(self) -> list[Order]:
        return [each for each in self.model.orders.values() if each.payments]

    @precondition(lambda self: self.paying())
    @rule(data=st.data(), what=st.sampled_from(["capture", "capture", "capture", "void", "refund"]))
    def moves_money(self, data: Any, what: str) -> None:
        each = self.pick(data, self.paying())
        index = data.draw(st.integers(0, len(each.payments) - 1))
        paid = each.payments[index]
        if what == "refund":
            cents = data.draw(st.integers(1, 300))
            wanted = [RefundRequest(paid.id, cents, "goodwill")]
            do = self.service(payments.refund, wanted)
            self.step(selling.refund, each, paid, cents, do=do)
        else:
            command = {"capture": selling.pay, "void": selling.void}[what]
            do = self.service(getattr(payments, what), [paid.id])
            self.step(command, each, paid, do=do)

    def unpaid(self) -> list[Order]:
        return [each for each in self.live() if any(paid.open for paid in each.payments)]

    @precondition(lambda self: self.unpaid())
    @rule(data=st.data())
    def collects(self, data: Any) -> None:
        each = self.pick(data, self.unpaid())
        paid = next(paid for paid in each.payments if paid.open)
        self.step(selling.pay, each, paid, do=self.service(payments.capture, [paid.id]))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def expects_the_rest(self, data: Any) -> None:
        each = self.pick(data, self.live())
        self.step(selling.tender, each, do=self.service(tenders.add, each.id, "cash"))

    def sent(self) -> list[tuple[Order, int]]:
        return [
            (each, no)
            for each in self.model.orders.values()
            for no, line in each.lines.items()
            if line.shipped > line.returned
        ]

    def collect(self, each: Order) -> Order:
        """Collect what is expected for an order; return it as it is then."""
        for paid in [paid for paid in each.payments if paid.open and not paid.captured]:
            do = self.service(payments.capture, [paid.id])
            self.step(selling.pay, each, paid, do=do)
        return self.model.orders[each.id]

    @precondition(lambda self: self.unpaid())
    @rule(data=st.data(), quantity=units)
    def cancels_what_is_paid(self, data: Any, quantity: int) -> None:
        each = self.collect(self.pick(data, self.unpaid()))
        self.drop(each, data.draw(st.sampled_from(sorted(each.lines))), quantity)

    @precondition(lambda self: self.sent())
    @rule(data=st.data(), quantity=st.integers(1, 3), scrap=st.booleans(), paid=st.booleans())
    def takes_back(self, data: Any, quantity: int, scrap: bool, paid: bool) -> None:
        each, no = data.draw(st.sampled_from(self.sent()))
        self.take_back(each, no, quantity, scrap=scrap, paid=paid)

    def take_back(self, each: Order, no: int, quantity: int, *, scrap: bool, paid: bool) -> None:
        each = self.collect(each) if paid else each
        how = "scrap" if scrap else "restock"
        # One by one: the refunds of all units sum to the line's price, however they are cut.
        for part in [1] * quantity if paid else [quantity]:
            line = ReturnedLine(each.lines[no].id, part, how)
            do = self.service(returns.receive, [ReturnRequest(each.id, (line,), "too small")])
            self.step(selling.send_back, each, no, part, do=do, scrap=scrap)
            each = self.model.orders[each.id]
