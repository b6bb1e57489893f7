"""Gives each command to the services and to the model, and asks both what came of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy.engine import Engine

from oms_ops.catalog import discounts
from oms_ops.catalog.discounts import DiscountIn
from oms_ops.database import run
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.stock import bins
from oms_ops.stock.bins import NewBin
from tests.oms_ops.machine.agreement import agree
from tests.oms_ops.machine.model import (
    BINS,
    SKUS,
    WAREHOUSES,
    Model,
    Order,
    Parcel,
    Payment,
    Refused,
)
from tests.oms_ops.machine.money import AMOUNT_CODE, PERCENT_CODE, RULES, USES
from tests.oms_ops.machine.replica import Replica
from tests.oms_ops.machine.seen import Seen, look
from tests.oms_ops.shop import ADMIN, Shop

units = st.integers(1, 6)
skus = st.sampled_from(SKUS)
sites = st.sampled_from(WAREHOUSES)


class Base(RuleBasedStateMachine):
    """The services on one side, the model on the other."""

    def __init__(self, engine: Engine, finish: Callable[[], None]) -> None:
        super().__init__()
        self.engine, self.finish = engine, finish
        self.shop = Shop(engine)
        self.model = Model()
        self.replica = Replica()
        run(engine, lambda c: store.publish(c, ADMIN, RULES))
        for code, fields in (
            (PERCENT_CODE, {"percent": "10", "use_limit": USES}),
            (AMOUNT_CODE, {"amount": "5", "currency": "USD"}),
        ):
            wanted = DiscountIn(code=code, name=code, **fields)
            run(engine, lambda c, w=wanted: discounts.put(c, ADMIN, w))
        for warehouse, codes in BINS.items():
            new = [NewBin(code, pick_sequence=i) for i, code in enumerate(codes)]
            run(engine, lambda c, w=warehouse, n=new: bins.create(c, ADMIN, w, n))
        for sku in SKUS:
            for warehouse, quantity in (("ATL", 8), ("NYC", 4)):
                self.shop.stock(sku, quantity, warehouse)
                self.model.move("ADJUSTMENT", f"{warehouse}-STORAGE", sku, quantity)

    def teardown(self) -> None:
        try:
            assert [f for f in reconcile(self.engine) if f.count] == []
            assert self.replica.differences(self.engine) == {}
            assert self.replica.gaps() == []
        finally:
            self.engine.dispose()
            self.finish()

    def step(
        self, command: Callable[..., None], *args: Any, do: Callable[..., Any], **how: Any
    ) -> None:
        """Give a command to the model and to the services; they end the same."""
        trial = copy.deepcopy((self.model, args))
        answers: list[Any] = []

        def act() -> Seen:
            answers.append(do())
            return look(self.engine)

        try:
            # The arguments are of the model: the copy's are handed to the copy.
            command(trial[0], act, *_in(trial[0], args), **how)
        except Refused as refusal:
            assert not answers
            with pytest.raises(refusal.kind):
                do()
        else:
            if not answers:
                act()
            self.model = trial[0]
        self.check()

    def check(self) -> None:
        agree(self.model, look(self.engine))
        assert [f for f in reconcile(self.engine) if f.count] == []
        self.replica.catch_up(self.engine)

    def service(self, work: Callable[..., Any], *args: Any, **how: Any) -> Callable[[], Any]:
        """Return what runs a service as the admin in a transaction of its own."""
        actor = how.pop("actor", ADMIN)
        return lambda: run(self.engine, lambda c: work(c, actor, *args, **how))


def _in(model: Model, args: tuple[Any, ...]) -> list[Any]:
    """Return the arguments with orders, parcels and payments of another copy of the model."""
    found: list[Any] = []
    for arg in args:
        if isinstance(arg, Order):
            found.append(model.orders[arg.id])
        elif isinstance(arg, Parcel):
            found.append(next(p for p in found[0].parcels if p.id == arg.id))
        elif isinstance(arg, Payment):
            found.append(next(p for p in found[0].payments if p.id == arg.id))
        else:
            found.append(arg)
    return found
