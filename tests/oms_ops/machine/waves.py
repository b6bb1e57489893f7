"""The commands of pickers: a wave is opened, disturbed, and picked, found short or given back."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from oms_ops.database import reading, run
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.fulfilment import picking, waves
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders import cancellation, reroute
from tests.oms_ops.machine import handling, selling, waving
from tests.oms_ops.machine.goods import Goods
from tests.oms_ops.machine.model import BINS
from tests.oms_ops.machine.sales import Sales, submissions
from tests.oms_ops.machine.selling import Change, Submission
from tests.oms_ops.shop import ADMIN, CLERK

_OPEN = (
    "SELECT k.id, p.code, s.code, k.quantity FROM picks AS k"
    " JOIN locations AS p ON p.id = k.location_id JOIN skus AS s ON s.id = k.sku_id"
    " WHERE k.picked IS NULL ORDER BY k.id"
)


class Waves(Sales, Goods):
    """A wave lasts for one rule, in which something else may happen to its orders."""

    def walkable(self) -> list[str]:
        return sorted(
            {
                parcel.warehouse
                for each in self.model.orders.values()
                if each.status == "open"
                for parcel in each.unpicked
            }
        )

    @rule(wanted=submissions, data=st.data(), missing=st.integers(1, 6))
    def sells_and_finds_less(self, wanted: Submission, data: Any, missing: int) -> None:
        """What was sold a moment ago is not all there, with some of the goods in bins."""
        warehouse = wanted.warehouse or "ATL"
        for line in wanted.lines:
            if loose := self.model.loose(warehouse, line.sku) // 2:
                place = data.draw(st.sampled_from(BINS[warehouse]))
                self.put_away(warehouse, f"{warehouse}-STORAGE", place, line.sku, loose)
        self.sell(wanted)
        if warehouse in self.walkable():
            self.walks(data, warehouse, 3, end="short", missing=missing)

    @precondition(lambda self: self.walkable())
    @rule(
        data=st.data(), most=st.integers(1, 3), disturbed=st.booleans(),
        end=st.sampled_from(["all", "short", "given back"]),
    )  # fmt: skip
    def picks_in_a_wave(self, data: Any, most: int, disturbed: bool, end: str) -> None:
        warehouse = data.draw(st.sampled_from(self.walkable()))
        self.walks(data, warehouse, most, disturbed=disturbed, end=end)

    def walks(
        self,
        data: Any,
        warehouse: str,
        most: int,
        *,
        end: str,
        disturbed: bool = False,
        missing: int = 2,
    ) -> None:
        do = self.service(waves.open_wave, warehouse, Limits(shipments=most))
        self.step(waving.open_wave, warehouse, most, do=do)
        if not self.model.picks:
            return
        number = self.shop.rows("SELECT number FROM pick_waves ORDER BY id DESC LIMIT 1")[0][0]
        if disturbed:
            self.disturb(data)
        if end == "given back":
            self.step(waving.give_back, do=self.service(waves.cancel, number))
        elif end == "short" and self.model.picks:
            index = data.draw(st.integers(0, len(self.model.picks) - 1))
            missing = min(missing, self.model.picks[index].units)
            do = lambda: self.finds_less(number, index, missing)  # noqa: E731
            self.step(waving.pick_short, index, missing, do=do)
        else:
            self.step(waving.pick_all, do=self.service(picking.confirm, number))

    def planned(self) -> list[Any]:
        """Return the open picks, which are those of the model."""
        with reading(self.engine) as connection:
            rows = connection.exec_driver_sql(_OPEN).all()
        assert [((row[1], row[2]), row[3]) for row in rows] == waving.sent_for(self.model)
        return rows

    def finds_less(self, number: str, index: int, missing: int) -> None:
        """Find all but ``missing`` units of one pick; then what is to be found instead of them."""
        rows = self.planned()
        found = {row[0]: row[3] - (missing if i == index else 0) for i, row in enumerate(rows)}
        run(self.engine, lambda c: picking.confirm(c, ADMIN, number, found))
        with reading(self.engine) as connection:
            more = connection.exec_driver_sql(_OPEN).all()
        if more:
            run(self.engine, lambda c: picking.confirm(c, ADMIN, number))

    def disturb(self, data: Any) -> None:
        """Try to change what is being picked."""
        each, parcel = data.draw(st.sampled_from(waving.waved(self.model)))
        no = data.draw(st.sampled_from(sorted(each.lines)))
        units = data.draw(st.integers(0, 8))
        what = data.draw(st.sampled_from(["drop", "amend", "cancel", "reroute", "pick", "hold"]))
        if what == "drop":
            self.drop(each, no, max(1, units))
        elif what == "amend":
            self.amend(each, [Change(no, each.lines[no].sku, units)], pays=False)
        elif what == "cancel":
            do = self.service(cancellation.cancel, [each.id], "no more", actor=CLERK)
            self.step(selling.cancel, each, do=do)
        elif what == "reroute":
            do = self.service(reroute.reroute, [parcel.id], reason="no room")
            self.step(handling.reroute, each, parcel, do=do)
        elif what == "pick":
            do = self.service(fulfilment.pick, [parcel.id])
            self.step(waving.pick_parcel, each, parcel, do=do)
        else:
            self.hold_or_release(each)
            self.hold_or_release(self.model.orders[each.id])
