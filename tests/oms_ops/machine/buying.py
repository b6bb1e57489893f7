"""The commands of buyers: an order is drafted, sent, confirmed, received, given up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from oms_ops.database import run
from oms_ops.purchasing import confirmation, receipts, sending
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.receipts import Delivered
from tests.oms_ops.machine import handling
from tests.oms_ops.machine.base import Base, sites, skus
from tests.oms_ops.shop import BUYER


class Buying(Base):
    """What is bought."""

    def purchase(self, warehouse: str, sku: str, packs: int, status: str) -> int:
        lines = [PurchaseLine(sku, 6 * packs)]
        made = run(
            self.engine,
            lambda c: purchasing.create(
                c, BUYER, supplier="ACME", warehouse=warehouse, lines=lines, status=status
            ),
        )
        handling.new_purchase(
            self.model, made["id"], line=made["lines"][0]["id"], warehouse=warehouse, sku=sku,
            units=6 * packs, status=status,
        )  # fmt: skip
        return int(made["id"])

    @rule(warehouse=sites, sku=skus, packs=st.integers(1, 2), data=st.data())
    def buys(self, warehouse: str, sku: str, packs: int, data: Any) -> None:
        self.purchase(warehouse, sku, packs, "sent")
        self.receives(data)

    @rule(
        warehouse=sites, sku=skus, status=st.sampled_from(["draft", "sent"]), data=st.data(),
        steps=st.lists(st.sampled_from(sorted(handling.PURCHASE_STEPS)), max_size=3),
    )  # fmt: skip
    def orders_from_the_supplier(
        self, warehouse: str, sku: str, status: str, data: Any, steps: list[str]
    ) -> None:
        purchase = self.purchase(warehouse, sku, 1, status)
        for step in steps:
            self.agrees(purchase, step)
        self.receives(data)

    @precondition(lambda self: self.model.purchases)
    @rule(data=st.data(), step=st.sampled_from(sorted(handling.PURCHASE_STEPS)))
    def agrees_with_the_supplier(self, data: Any, step: str) -> None:
        self.agrees(data.draw(st.sampled_from(sorted(self.model.purchases))), step)

    def agrees(self, purchase: int, step: str) -> None:
        number = str(purchase)
        does = {
            "send": self.service(sending.send, number),
            "confirm": self.service(confirmation.confirm, number),
            "cancel": self.service(confirmation.cancel, number, "too late"),
        }
        self.step(handling.purchase_step, purchase, step, do=does[step])

    def receives(self, data: Any) -> None:
        purchase = data.draw(st.sampled_from(sorted(self.model.purchases)))
        came = data.draw(st.integers(1, 14))
        damaged = data.draw(st.integers(0, min(came, 3)))
        short = data.draw(st.booleans())
        line = self.model.purchases[purchase]["line"]
        do = self.service(
            receipts.receive, purchase, {line: Delivered(came, damaged)}, close_short=short
        )
        self.step(handling.receive, purchase, came, damaged, short, do=do)

    @precondition(lambda self: self.model.purchases)
    @rule(data=st.data())
    def receives_more(self, data: Any) -> None:
        self.receives(data)
